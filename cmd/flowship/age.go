package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// humanAge says how long ago something was, as roughly as docker does.
func humanAge(d time.Duration) string {
	const (
		day   = 24 * time.Hour
		week  = 7 * day
		month = 30 * day
		year  = 365 * day
	)
	ago := func(unit time.Duration, noun string) string { return count(int(d/unit), noun) + " ago" }
	switch {
	case d < time.Second:
		return "Less than a second ago"
	case d < time.Minute:
		return ago(time.Second, "second")
	case d < 2*time.Minute:
		return "About a minute ago"
	case d < time.Hour:
		return ago(time.Minute, "minute")
	case d < 2*time.Hour:
		return "About an hour ago"
	case d < 2*day:
		return ago(time.Hour, "hour")
	case d < 2*week:
		return ago(day, "day")
	case d < 2*month:
		return ago(week, "week")
	case d < 2*year:
		return ago(month, "month")
	}
	return ago(year, "year")
}

// humanDuration writes a duration to about a hundredth.
func humanDuration(d time.Duration) string {
	switch {
	case d < time.Second:
		return strconv.FormatInt(max(d, 0).Milliseconds(), 10) + "ms"
	case d < 10*time.Second:
		return fmt.Sprintf("%.1fs", d.Seconds())
	}
	unit := time.Second
	if d >= time.Hour {
		unit = time.Minute
	}
	s := d.Round(unit).String()
	for _, none := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(s, none) {
			s = s[:len(s)-2]
		}
	}
	return s
}
