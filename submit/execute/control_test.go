package execute

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// dial connects to the channel, as the flow's process does.
func dial(t *testing.T, c *control, token string) (net.Conn, *bufio.Reader) {
	t.Helper()
	port, _, _ := strings.Cut(strings.TrimPrefix(c.environ()[0], "PREFECT__CONTROL_PORT="), " ")
	conn, err := net.Dial("tcp", "127.0.0.1:"+port)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(conn, token+"\n"); err != nil {
		t.Fatal(err)
	}
	return conn, bufio.NewReader(conn)
}

func receipt(payload string) string {
	return string(binary.BigEndian.AppendUint32([]byte{controlReceipt}, uint32(len(payload)))) + payload
}

const (
	stateReported = `{"disposition":"STATE_REPORTED","state_id":"80cfb931-f434-4b36-b71b-f2a85eb4aef1","state_name":"Completed","state_type":"COMPLETED"}`
	hello         = "\x00PF\x02\x01"
)

func TestControl(t *testing.T) {
	for _, test := range []struct {
		name   string
		token  string   // "" is the right one
		talk   []string // what the process says, and is answered after a "> "
		intent bool     // the supervisor says one first; its answer is the first one
		want   answered
	}{
		{"receipt", "", []string{hello, "> " + hello, receipt(stateReported), "> \x02"}, false, concluded},
		{"aborted", "", []string{hello, "> " + hello, receipt(`{"disposition":"ORCHESTRATION_ABORTED"}`), "> \x02"}, false, concluded},
		{"newer", "", []string{"\x00PF\x07\xff", "> " + hello, receipt(stateReported), "> \x02"}, false, concluded},
		{"older", "", []string{"\x00PF\x01\x00", "> \x00PF\x01\x00"}, false, notTaken},
		{"receipt that was not agreed on", "", []string{receipt(stateReported), "> "}, false, notTaken},
		{"no receipt", "", []string{hello, "> " + hello, receipt(`{"disposition":"ORCHESTRATION_ABORTED","state_name":"x"}`), "> "}, false, notTaken},
		{"too long a receipt", "", []string{hello, "> " + hello, "\x01\x00\x01\x00\x00", "> "}, false, notTaken},
		{"intent taken", "", []string{hello, "> " + hello, "> c", "a", "> "}, true, taken},
		{"intent not taken", "", []string{hello, "> " + hello, "> c", "x", "> "}, true, notTaken},
		{"receipt in place of an answer", "", []string{hello, "> " + hello, "> c", receipt(stateReported), "> \x02"}, true, concluded},
		{"answer to nothing", "", []string{"a", "> "}, false, notTaken},
		{"another token", "00", []string{hello, "> "}, false, notTaken},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, err := openControl()
			if err != nil {
				t.Fatal(err)
			}
			defer c.close()
			token := test.token
			if token == "" {
				token = c.token
			}
			conn, r := dial(t, c, token)
			answer := make(chan answered, 1)
			for i, words := range test.talk {
				if test.intent && i == 2 {
					go func() { answer <- c.signal(intentCancel) }()
				}
				want, heard := strings.CutPrefix(words, "> ")
				if !heard {
					if _, err := io.WriteString(conn, words); err != nil {
						t.Fatal(err)
					}
					continue
				}
				got := make([]byte, len(want))
				if _, err := io.ReadFull(r, got); err != nil || string(got) != want {
					t.Fatalf("answer %q, %v; want %q", got, err, want)
				}
				if want == "" { // the channel hangs up
					if rest, err := io.ReadAll(r); len(rest) > 0 {
						t.Fatalf("after the end %q, %v", rest, err)
					}
				}
			}
			if test.intent {
				if diff := cmp.Diff(test.want, <-answer); diff != "" {
					t.Errorf("the intent (-want +got):\n%s", diff)
				}
			}
			c.close()
			if diff := cmp.Diff(test.want, c.concluded()); diff != "" {
				t.Errorf("conclusion (-want +got):\n%s", diff)
			}
		})
	}
}

// The token is good for one connection, and who says nothing is in nobody's way.
func TestControlOneProcess(t *testing.T) {
	c, err := openControl()
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	silent, err := net.Dial("tcp", c.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	if got := c.signal(intentCancel); got != notTaken {
		t.Errorf("nobody there: %v", got)
	}
	first, r := dial(t, c, c.token)
	io.WriteString(first, hello)
	if _, err := io.ReadFull(r, make([]byte, len(hello))); err != nil {
		t.Fatal(err)
	}
	_, again := dial(t, c, c.token)
	if rest, _ := io.ReadAll(again); len(rest) > 0 {
		t.Errorf("the second one heard %q", rest)
	}
	begun := time.Now()
	if got := c.signal(intentCancel); got != notTaken || time.Since(begun) < intentTime {
		t.Errorf("no answer: %v after %v", got, time.Since(begun))
	}
	var none *control
	none.close()
	if got, env := none.signal(intentCancel), none.environ(); got != notTaken || env != nil {
		t.Errorf("without a channel: %v, %q", got, env)
	}
}

// spoken is a connection on which everything was said already.
type spoken struct {
	net.Conn
	said  *bytes.Reader
	heard bytes.Buffer
}

func (s *spoken) Read(p []byte) (int, error)       { return s.said.Read(p) }
func (s *spoken) Write(p []byte) (int, error)      { return s.heard.Write(p) }
func (s *spoken) SetReadDeadline(time.Time) error  { return nil }
func (s *spoken) SetWriteDeadline(time.Time) error { return nil }

// FuzzControl: whatever is said, nobody is believed who did not begin with the token and agree on
// receipts, and the answers are those of the channel.
func FuzzControl(f *testing.F) {
	for _, seed := range []string{"t\n" + hello + receipt(stateReported), "t\na", "t\n\x00PF\x01\x00\x01", "x\n", "t\n" + hello + "\x01\xff\xff\xff\xff"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, said []byte) {
		c := newControl("t")
		s := &spoken{said: bytes.NewReader(said)}
		c.converse(s)
		believed := c.concluded() == concluded
		if believed && !(bytes.HasPrefix(bytes.TrimSpace(said), []byte("t")) && bytes.HasSuffix(s.heard.Bytes(), []byte(hello+"\x02"))) {
			t.Errorf("%q: believed after %q", said, s.heard.Bytes())
		}
		if c.concluded() == taken || c.conn != nil {
			t.Errorf("%q: conclusion %v", said, c.concluded())
		}
	})
}

// FuzzNotes: what a process left for notes is read as far as it goes.
func FuzzNotes(f *testing.F) {
	f.Add([]byte("{\"explanations\": {\"7\": \"seven\", \"\": \"another\"}}\n{\"crashed\": true}\n{\"ended\": true}\n"))
	f.Add([]byte("{\"explanations\": [1]}\n"))
	f.Add([]byte(""))
	f.Fuzz(func(t *testing.T, content []byte) {
		n := parseNotes(bytes.NewReader(content))
		if text := n.explain(7); n.begun != (len(content) > 0) || !n.begun && text == "" {
			t.Errorf("%q: begun %v, %q", content, n.begun, text)
		}
	})
}
