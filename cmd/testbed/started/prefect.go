package started

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// Ask sends to a Prefect server what another program might, and returns its answer; one with a
// status of 300 or more is an error. A busy server on SQLite now and then says 503, because its
// database is locked, or drops a connection: then Ask asks again, for half a minute, so what it is
// asked for must bear to be done twice.
func Ask(ctx context.Context, method, url, body string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		answer, status, err := ask(ctx, method, url, body)
		switch {
		case err == nil && status < 300:
			return answer, nil
		case err == nil:
			err = fmt.Errorf("%s %s: status %d: %s", method, url, status, answer)
			if status != http.StatusServiceUnavailable {
				return nil, err
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
	}
}

func ask(ctx context.Context, method, url, body string) (answer []byte, status int, err error) {
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return nil, 0, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, 0, err
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(resp.Body)
	return answer, resp.StatusCode, err
}
