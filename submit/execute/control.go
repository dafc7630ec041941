package execute

import (
	"bufio"
	"crypto/rand"
	"crypto/subtle"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
)

// The wire of Prefect's control channel: the flow's process connects, says its token and a
// newline, and then either side sends what follows. A greeting is five bytes: the prefix, the
// version, the capabilities. A receipt is its byte, four bytes of length and JSON.
const (
	controlGreeting     = "\x00PF"
	controlVersion      = 2
	controlReceipts     = 1 // the capability
	controlReceipt      = 0x01
	controlReceiptTaken = 0x02
	controlTaken        = 'a' // an intent was
	maxReceipt          = 4 << 10
	maxToken            = 64
)

// intent is what the flow's process is told that a signal will mean, before it gets the signal.
type intent byte

const (
	intentCancel     intent = 'c' // the supervisor makes the run CANCELLED
	intentReschedule intent = 'r' // and AwaitingRetry
	intentRelinquish intent = 'q' // and decides
)

// answered is what became of an intent.
type answered int

const (
	notTaken  answered = iota // nobody said anything: the process may say to the server what it likes
	taken                     // the process will say nothing to the server any more
	concluded                 // the process has said to the server how the run ended
)

const (
	greetTime  = 5 * time.Second
	intentTime = time.Second
)

// control is the supervisor's side of the channel, for one process.
type control struct {
	listener net.Listener
	token    string
	serving  sync.WaitGroup

	mu         sync.Mutex
	open       map[net.Conn]bool
	conn       net.Conn // of the flow's process, once it has said the token
	spent      bool     // the token was said
	receipts   bool
	pending    intent
	conclusion answered
	news       chan struct{} // closed and made anew when any of these changes
}

func openControl() (*control, error) {
	token := make([]byte, 16)
	if _, err := rand.Read(token); err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	c := newControl(hex.EncodeToString(token))
	c.listener = l
	c.serving.Go(c.serve)
	return c, nil
}

func newControl(token string) *control {
	return &control{token: token, open: map[net.Conn]bool{}, news: make(chan struct{})}
}

// environ are the variables by which the flow's process finds the channel.
func (c *control) environ() []string {
	if c == nil {
		return nil
	}
	_, port, _ := net.SplitHostPort(c.listener.Addr().String())
	return []string{"PREFECT__CONTROL_PORT=" + port, "PREFECT__CONTROL_TOKEN=" + c.token}
}

func (c *control) serve() {
	for {
		conn, err := c.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(10 * time.Millisecond) // too many open files, which may pass
			continue
		}
		c.mu.Lock()
		c.open[conn] = true
		c.mu.Unlock()
		c.serving.Go(func() {
			c.converse(conn)
			conn.Close()
			c.mu.Lock()
			defer c.mu.Unlock()
			delete(c.open, conn)
		})
	}
}

// close ends all connections, and waits for that. A nil channel has none.
func (c *control) close() {
	if c == nil {
		return
	}
	c.listener.Close()
	c.mu.Lock()
	for conn := range c.open {
		conn.Close()
	}
	c.mu.Unlock()
	c.serving.Wait()
}

// converse talks with whoever has connected, until it is over.
func (c *control) converse(conn net.Conn) {
	conn.SetReadDeadline(time.Now().Add(greetTime))
	r := bufio.NewReaderSize(conn, maxToken)
	line, err := r.ReadSlice('\n')
	if err != nil || !c.admit(conn, strings.TrimSpace(string(line))) {
		return
	}
	conn.SetReadDeadline(time.Time{})
	for c.hear(conn, r) == nil {
	}
	c.change(func() { c.conn = nil })
}

// admit lets the first one in that knows the token.
func (c *control) admit(conn net.Conn, token string) (ok bool) {
	c.change(func() {
		if ok = !c.spent && subtle.ConstantTimeCompare([]byte(token), []byte(c.token)) == 1; ok {
			c.spent, c.conn = true, conn
		}
	})
	return ok
}

// errOver: there is nothing more to be said.
var errOver = errors.New("the conversation is over")

// hear hears one thing that the flow's process says.
func (c *control) hear(conn net.Conn, r *bufio.Reader) error {
	first, err := r.ReadByte()
	if err != nil {
		return err
	}
	switch first {
	case controlTaken:
		c.change(func() {
			if c.pending != 0 && c.conclusion == notTaken {
				c.conclusion = taken
			}
		})
		return errOver
	case controlGreeting[0]:
		rest := make([]byte, len(controlGreeting)+1)
		if _, err := io.ReadFull(r, rest); err != nil || string(rest[:2]) != controlGreeting[1:] {
			return errOver
		}
		answer := []byte(controlGreeting + "\x01\x00")
		knows := rest[2] >= controlVersion && rest[3]&controlReceipts != 0
		if knows {
			answer = []byte(controlGreeting + string([]byte{controlVersion, controlReceipts}))
		}
		c.change(func() { c.receipts = knows })
		return c.say(conn, answer)
	case controlReceipt:
		return c.hearReceipt(conn, r)
	}
	return errOver
}

// hearReceipt hears that the process has told the server how the run ended.
func (c *control) hearReceipt(conn net.Conn, r io.Reader) error {
	var size uint32
	if err := binary.Read(r, binary.BigEndian, &size); err != nil || size > maxReceipt {
		return errOver
	}
	payload := make([]byte, size)
	if _, err := io.ReadFull(r, payload); err != nil || checkReceipt(payload) != nil {
		return errOver
	}
	first := false
	c.change(func() {
		if first = c.receipts && c.conclusion == notTaken; first {
			c.conclusion = concluded
		}
	})
	if first {
		c.say(conn, []byte{controlReceiptTaken})
	}
	return errOver
}

// checkReceipt refuses what Prefect would not take for a receipt.
func checkReceipt(payload []byte) error {
	var receipt struct {
		Disposition string     `json:"disposition"`
		ID          *uuid.UUID `json:"state_id"`
		Type        *string    `json:"state_type"`
		Name        *string    `json:"state_name"`
	}
	dec := json.NewDecoder(strings.NewReader(string(payload)))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&receipt); err != nil {
		return err
	}
	switch receipt.Disposition {
	case "STATE_REPORTED":
		if receipt.ID != nil && receipt.Name != nil && receipt.Type != nil && len(*receipt.Type) > 0 && len(*receipt.Type) <= 64 {
			return nil
		}
	case "ORCHESTRATION_ABORTED":
		if receipt.ID == nil && receipt.Type == nil && receipt.Name == nil {
			return nil
		}
	}
	return fmt.Errorf("no receipt: %q", receipt.Disposition)
}

// signal tells the process what the signal will mean that follows.
func (c *control) signal(i intent) answered {
	if c == nil {
		return notTaken
	}
	var conn net.Conn
	var before answered
	c.change(func() {
		before = c.conclusion
		if before == notTaken && c.pending == 0 && c.conn != nil {
			conn, c.pending = c.conn, i
		}
	})
	if conn == nil {
		return before
	}
	late := time.NewTimer(intentTime)
	defer late.Stop()
	if c.say(conn, []byte{byte(i)}) != nil {
		return c.concluded()
	}
	for {
		c.mu.Lock()
		now, gone, news := c.conclusion, c.conn == nil, c.news
		c.mu.Unlock()
		if now != notTaken || gone {
			return now
		}
		select {
		case <-news:
		case <-late.C:
			conn.Close() // it is not to take the intent later
			return c.concluded()
		}
	}
}

// concluded is what is known of how it ended.
func (c *control) concluded() answered {
	if c == nil {
		return notTaken
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.conclusion
}

func (c *control) say(conn net.Conn, b []byte) error {
	conn.SetWriteDeadline(time.Now().Add(intentTime))
	_, err := conn.Write(b)
	return err
}

func (c *control) change(do func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	do()
	close(c.news)
	c.news = make(chan struct{})
}
