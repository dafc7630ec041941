package dockerinfra

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/api/types/jsonstream"
)

// Who waits for a large image hears every few seconds how much of it has come.
func TestPulled(t *testing.T) {
	begun := time.Now()
	p := &pulled{last: begun}
	var got []string
	for _, said := range []struct {
		after  time.Duration
		source string
	}{
		{0, `{"status": "Pulling from flow/ship", "id": "1"}`},
		{0, `{"status": "Already exists", "progressDetail": {}, "id": "a"}`},
		{time.Second, `{"status": "Downloading", "progressDetail": {"current": 1000000, "total": 30000000}, "id": "b"}`},
		{2 * time.Second, `{"status": "Downloading", "progressDetail": {"current": 500000, "total": 2000000}, "id": "c"}`},
		{3 * time.Second, `{"status": "Download complete", "progressDetail": {}, "id": "c"}`},
		{6 * time.Second, `{"status": "Downloading", "progressDetail": {"current": 20000000, "total": 30000000}, "id": "b"}`},
		{7 * time.Second, `{"status": "Downloading", "progressDetail": {"current": 21000000, "total": 30000000}, "id": "b"}`},
		{12 * time.Second, `{"status": "Downloading", "progressDetail": {"current": 25000000, "total": 30000000}, "id": "b"}`},
		{13 * time.Second, `{"status": "Extracting", "progressDetail": {"current": 1, "total": 2}, "id": "b"}`},
		{14 * time.Second, `{"status": "Pull complete", "progressDetail": {}, "id": "b"}`},
		{15 * time.Second, `{"status": "Status: Downloaded newer image"}`},
	} {
		message := &jsonstream.Message{}
		if err := json.Unmarshal([]byte(said.source), message); err != nil {
			t.Fatal(err)
		}
		if line := p.take(message, begun.Add(said.after)); line != "" {
			got = append(got, line)
		}
	}
	if diff := cmp.Diff([]string{"a: Already exists", "22MB of 32MB", "27MB of 32MB", "b: Pull complete", "Status: Downloaded newer image"}, got); diff != "" {
		t.Errorf("said (-want +got):\n%s", diff)
	}
}
