package prefect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/flowship/flowship/submit/orchestrator"
)

// clock is that of the server, as far as its answers tell.
type clock struct {
	ahead atomic.Int64 // of ours, in nanoseconds
}

// staleness is how old a date may be: servers count full seconds, and some look only now and then.
const staleness = 3 * time.Second

// heard notes the date of an answer. A clock that may be ours is taken for that.
func (c *clock) heard(date string, sent, got time.Time) {
	at, err := http.ParseTime(date)
	if err != nil {
		return
	}
	least, most := at.Sub(got), at.Add(staleness).Sub(sent)
	ahead := time.Duration(0)
	if least > 0 || most < 0 {
		ahead = (least + most) / 2
	}
	c.ahead.Store(int64(ahead))
}

// now is the time of the server.
func (c *Client) now() time.Time {
	return time.Now().Add(time.Duration(c.clock.ahead.Load())).UTC()
}

// versionCheck is what is known of the server's version.
type versionCheck struct {
	mu      sync.Mutex
	done    bool
	err     error
	warning string
	tell    func(string) // or nil
}

// checkVersion asks once for the server's version. A server of another major version speaks
// another language.
func (c *Client) checkVersion(ctx context.Context) error {
	v := &c.version
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.done || c.settings.NoVersionCheck || c.settings.Cloud {
		return v.err
	}
	r, err := c.once(ctx, http.MethodGet, "/admin/version", nil)
	if err != nil || r.status >= 500 || r.status == http.StatusTooManyRequests {
		return nil // the call itself will tell
	}
	v.done = true
	var theirs string
	if r.status != http.StatusOK || json.Unmarshal(r.body, &theirs) != nil {
		return nil
	}
	their, ok := versionOf(theirs)
	our, _ := versionOf(version)
	switch {
	case !ok:
	case their[0] != our[0]:
		v.err = fmt.Errorf("the server is Prefect %s, and this speaks to Prefect %d", theirs, our[0])
	case their[1] < our[1] || their[1] == our[1] && their[2] < our[2]:
		v.warning = fmt.Sprintf("the server is Prefect %s, older than %s, which this is made for", theirs, version)
		if v.tell != nil {
			v.tell(v.warning)
		}
	}
	return v.err
}

// versionOf reads major, minor and patch of a version such as 3.8.8rc1+4.
func versionOf(text string) (v [3]int, ok bool) {
	parts := strings.SplitN(text, ".", 3)
	if len(parts) < 3 {
		return v, false
	}
	for i, part := range parts {
		end := strings.IndexFunc(part, func(r rune) bool { return r < '0' || r > '9' })
		if end < 0 {
			end = len(part)
		}
		n, err := strconv.Atoi(part[:end])
		if err != nil {
			return v, false
		}
		v[i] = n
	}
	return v, true
}

// Warnings are those of the settings, and one about the server's version once it was asked.
func (c *Client) Warnings() []string {
	c.version.mu.Lock()
	defer c.version.mu.Unlock()
	warnings := append([]string{}, c.settings.Warnings...)
	if c.version.warning != "" {
		warnings = append(warnings, c.version.warning)
	}
	return warnings
}

// Tell has warn called with what is to be said about the server's version, once that is known.
func (c *Client) Tell(warn func(string)) {
	c.version.mu.Lock()
	defer c.version.mu.Unlock()
	c.version.tell = warn
}

func isNotFound(err error) bool { return errors.Is(err, orchestrator.ErrNotFound) }
