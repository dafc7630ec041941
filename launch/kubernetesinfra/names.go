package kubernetesinfra

import (
	"html"
	"regexp"
	"strings"

	"golang.org/x/text/unicode/norm"
)

// Prefect makes names and labels of any text by python-slugify; these are its rules for ASCII.
// Letters lose their accents. Of other scripts, which Prefect spells in Latin letters, nothing is
// kept.

var (
	notInName        = regexp.MustCompile(`[^a-zA-Z0-9-]+`)
	notInLabel       = regexp.MustCompile(`[^a-zA-Z0-9-_.]+`)
	notInLabelDomain = regexp.MustCompile(`[^a-zA-Z0-9-.]+`)
	quotes           = regexp.MustCompile(`'+`)
	dashes           = regexp.MustCompile(`-{2,}`)
)

// Lengths that names may have: that of a Job leaves room for a suffix.
const (
	maxJobName     = 45
	maxLabel       = 63
	maxLabelDomain = 253
)

func slug(s string, not *regexp.Regexp, most int) string {
	s = norm.NFKD.String(html.UnescapeString(withoutAccents(quotes.ReplaceAllString(s, "-"))))
	s = withoutCommas(quotes.ReplaceAllString(s, ""))
	s = strings.Trim(dashes.ReplaceAllString(not.ReplaceAllString(s, "-"), "-"), "-")
	if len(s) > most {
		s = strings.Trim(s[:most], "-")
	}
	return s
}

func withoutAccents(s string) string {
	var plain strings.Builder
	for _, r := range norm.NFKD.String(s) {
		if r < 0x300 || r > 0x36f {
			plain.WriteRune(r)
		}
	}
	return plain.String()
}

// withoutCommas takes out those between digits.
func withoutCommas(s string) string {
	digit := func(i int) bool { return i >= 0 && i < len(s) && '0' <= s[i] && s[i] <= '9' }
	var kept strings.Builder
	for i := range len(s) {
		if s[i] != ',' || !digit(i-1) || !digit(i+1) {
			kept.WriteByte(s[i])
		}
	}
	return kept.String()
}

// jobName makes the beginning of a Job's name, "" of a text without letters and digits.
func jobName(s string) string {
	return strings.ToLower(slug(s, notInName, maxJobName))
}

// labelValue makes a label's value. What nothing can be made of is left for the API server to
// refuse.
func labelValue(s string) string { return labelPart(s, notInLabel, maxLabel) }

// labelKey makes a label's or annotation's key, "name" or "domain/name".
func labelKey(s string) string {
	domain, name, ok := strings.Cut(s, "/")
	if !ok {
		return labelPart(s, notInLabel, maxLabel)
	}
	name = labelPart(name, notInLabel, maxLabel)
	if domain == "" {
		return name
	}
	return labelPart(domain, notInLabelDomain, maxLabelDomain) + "/" + name
}

func labelPart(s string, not *regexp.Regexp, most int) string {
	if made := strings.Trim(slug(s, not, most), "_-."); made != "" {
		return made
	}
	return s
}
