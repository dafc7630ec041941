package dockerinfra

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"
)

// A volume that passed is one that the engine reads the same way: as many parts, a known option.
func FuzzVolume(f *testing.F) {
	for _, seed := range []string{"/a:/b:ro", "name:/b", `C:\x:/b`, "./d:/b", "/anon", ":", "a:b:c:d", "/a\n:/b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		v, err := parseVolume(s)
		if err != nil {
			return
		}
		again, err := parseVolume(v)
		if err != nil || again != v {
			t.Errorf("%q became %q, which becomes %q, %v", s, v, again, err)
		}
		if strings.ContainsAny(v, "\n\x00") || v == "" {
			t.Errorf("%q became %q", s, v)
		}
	})
}

func FuzzSize(f *testing.F) {
	for _, seed := range []string{"1.5g", "-1", "1kb", "1e300g", "0x1p-2", "nan", "b", ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if n, err := parseSize(s); err == nil && n < -1 {
			t.Errorf("%q is %d", s, n)
		}
	})
}

func FuzzImage(f *testing.F) {
	for _, seed := range []string{"busybox", "a.b:5000/c/d:latest", "a@sha256:" + strings.Repeat("0", 64), strings.Repeat("a", 64), "A", "a:b:c", "/"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		i, err := parseImage(s)
		if err != nil {
			return
		}
		if i.named == nil {
			if i.registry() != "" || i.floats {
				t.Errorf("%q: an id in a registry: %+v", s, i)
			}
			return
		}
		again, err := parseImage(i.named.String())
		if err != nil || again.registry() != i.registry() || again.floats != i.floats {
			t.Errorf("%q: %+v, and again %+v, %v", s, i, again, err)
		}
	})
}

func FuzzContainerName(f *testing.F) {
	for _, seed := range []string{"calm-otter", "Flow Run / 1", "", "_-.", "é", strings.Repeat("x-", 200)} {
		f.Add(seed)
	}
	valid := regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]{1,249}$`)
	f.Fuzz(func(t *testing.T, s string) {
		if name := containerName(s); name != "" && !valid.MatchString(name) {
			t.Errorf("%q became %q", s, name)
		}
	})
}

func FuzzKwargs(f *testing.F) {
	f.Add(`{"cap_add": ["A"], "ports": {"80": [["127.0.0.1", 1]]}, "healthcheck": {"test": "x"}, "tmpfs": ["/a:b"]}`)
	f.Add(`{"ports": {"80/tcp": null, "81": ["::1", "[::1]:8"]}, "devices": ["/a:/b"], "links": [["a", "b"]], "ulimits": [null]}`)
	f.Add(`{"mounts": [{}], "networking_config": {"a": null}, "platform": "linux/arm64/v8", "user": 1, "volumes_from": "a,b"}`)
	f.Fuzz(func(t *testing.T, source string) {
		var kwargs map[string]json.RawMessage
		if json.Unmarshal([]byte(source), &kwargs) != nil {
			return
		}
		r := &request{}
		if r.apply(kwargs, io.Discard) != nil {
			return
		}
		if _, err := json.Marshal(r.host); err != nil {
			t.Errorf("%s cannot be sent: %v", source, err)
		}
		if _, err := json.Marshal(r.config); err != nil {
			t.Errorf("%s cannot be sent: %v", source, err)
		}
	})
}

// frames are pieces of output as the engine sends them, each at its own time in units of 100 ms.
func frames(pieces string) []byte {
	var out []byte
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for i, r := range []byte(pieces) {
		at := start.Add(time.Duration(i/3) * 100 * time.Millisecond) // three pieces of the same time
		piece := append([]byte(at.Format(stampLayout)), r)
		out = append(out, 1+r%2, 0, 0, 0)
		out = binary.BigEndian.AppendUint32(out, uint32(len(piece)))
		out = append(out, piece...)
	}
	return out
}

// Wherever the connection breaks, each piece arrives once.
func FuzzLogsCut(f *testing.F) {
	f.Add("abcdefghijklmnopqrstuvwxyz", uint16(100), uint16(400))
	f.Add("aaaabbbb", uint16(8), uint16(47))
	f.Fuzz(func(t *testing.T, pieces string, first, second uint16) {
		all := frames(pieces)
		var got, want [2]bytes.Buffer
		l := newLogs(&got[0], &got[1], false)
		for _, cut := range []int{int(first), int(second), len(all)} {
			cut = min(cut, len(all))
			if err := l.demultiplex(bytes.NewReader(all[:cut])); err == nil && cut == len(all) {
				break
			}
		}
		if err := l.demultiplex(bytes.NewReader(all)); err != nil { // the last look
			t.Fatal(err)
		}
		for _, r := range []byte(pieces) {
			want[r%2].WriteByte(r)
		}
		for i := range got {
			if got[i].String() != want[i].String() {
				t.Errorf("stream %d: %q, want %q", i+1, got[i].String(), want[i].String())
			}
		}
	})
}

// A clock that is set back loses nothing.
func TestLogsClockSetBack(t *testing.T) {
	var out bytes.Buffer
	l := newLogs(io.Discard, &out, false)
	for _, source := range [][]byte{append(frames("aaaaaa"), frames("cc")...), nil} {
		if err := l.demultiplex(bytes.NewReader(source)); err != nil {
			t.Fatal(err)
		}
	}
	if out.String() != "aaaaaacc" {
		t.Errorf("%q", out.String())
	}
}

// Whatever comes instead of output, nothing panics, and no more is kept than has come.
func FuzzLogs(f *testing.F) {
	f.Add(frames("ab"))
	f.Add([]byte{1, 0, 0, 0, 255, 255, 255, 255, 0})
	f.Add([]byte{3, 0, 0, 0, 0, 0, 0, 1, 'x'})
	f.Fuzz(func(t *testing.T, source []byte) {
		var out bytes.Buffer
		l := newLogs(&out, &out, false)
		if l.demultiplex(bytes.NewReader(source)); out.Len() > len(source) {
			t.Errorf("%d bytes became %d", len(source), out.Len())
		}
	})
}
