package prefect

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/flowship/flowship/submit/orchestrator"
)

// channel is a worker's own connection to the server, on which it is seen. Prefect's workers open
// one, and so do these; requests take its place where there is none.
type channel struct {
	client   *Client
	consumer string // what it calls itself to the server
	end      context.CancelFunc
	tried    chan struct{} // closed when the first attempt came to something or to nothing
	done     chan struct{} // closed when nobody tries any more

	mu     sync.Mutex
	socket *socket // while the server knows the worker; else nil
}

const (
	// channelRest is how long a channel that is not to be had is not asked for again.
	channelRest = 5 * time.Minute
	// reconnectFirst and reconnectLast are the delays before a broken one is opened anew.
	reconnectFirst = time.Second
	reconnectLast  = 30 * time.Second
)

func openChannel(ctx context.Context, c *Client, w orchestrator.Worker) *channel {
	// It outlives the call that opens it.
	ctx, end := context.WithCancel(context.WithoutCancel(ctx))
	ch := &channel{client: c, consumer: uuid.NewString(), end: end, tried: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(ch.done)
		ch.keep(ctx, w)
	}()
	return ch
}

// keep keeps the connection up, until it is refused or ctx ends.
func (ch *channel) keep(ctx context.Context, w orchestrator.Worker) {
	tried := sync.OnceFunc(func() { close(ch.tried) })
	defer tried()
	worked := false
	for delay := reconnectFirst; ; delay = min(2*delay, reconnectLast) {
		began := time.Now()
		s, err := ch.connect(ctx, w)
		if err == nil {
			worked = true
			ch.use(s)
			tried()
			err = ch.listen(ctx, s)
			ch.use(nil)
			s.drop()
			if time.Since(began) > reconnectLast {
				delay = reconnectFirst
			}
		}
		if !worked || refused(err) || wait(ctx, delay) != nil {
			return
		}
	}
}

// frame is what goes over the channel.
type frame struct {
	Type    string `json:"type"`
	ID      string `json:"id"`
	SentAt  string `json:"sent_at"`
	Payload any    `json:"payload"`
}

func newFrame(typ string, payload map[string]any) frame {
	return frame{Type: typ, ID: uuid.NewString(), SentAt: time.Now().UTC().Format(time.RFC3339Nano), Payload: payload}
}

// connect returns when the server has seen the worker.
func (ch *channel) connect(ctx context.Context, w orchestrator.Worker) (*socket, error) {
	ctx, cancel := context.WithTimeout(ctx, setupTime)
	defer cancel()
	var pool workPool // for its type, and because the server does not say clearly that it is not there
	if err := ch.client.callWorkPool(ctx, http.MethodGet, w.WorkPool, "", nil, &pool); err != nil {
		return nil, err
	}
	s, err := ch.client.dial(ctx, "/work_pools/"+url.PathEscape(w.WorkPool)+"/workers/connect")
	if err != nil {
		return nil, err
	}
	err = s.send(ctx, newFrame("worker.hello.v1", map[string]any{
		"consumer_id": ch.consumer, "worker_name": w.Name, "worker_type": pool.Type, "heartbeat_interval_seconds": wholeSeconds(w.Interval),
		"supported_channel_versions": []string{"work_pool_worker_channel.v1"},
		"requested_capabilities":     []string{"worker_heartbeat.v1", "work_pool_snapshot.v1"}, // it wants both
	}))
	for err == nil {
		var said received
		if err = s.receive(ctx, &said); err == nil && said.ready(ch.consumer) {
			return s, nil
		}
	}
	s.drop()
	return nil, err
}

// received is a frame of the server's.
type received struct {
	Type    string          `json:"type"`
	Payload json.RawMessage `json:"payload"`
}

// ready reports whether the server knows the worker from now on.
func (r *received) ready(consumer string) bool {
	var payload struct {
		Consumer string `json:"consumer_id"`
	}
	return r.Type == "worker.ready.v1" && json.Unmarshal(r.Payload, &payload) == nil && payload.Consumer == consumer
}

// listen reads until the connection breaks. Nobody needs what comes, such as how the pool looks
// now, but a connection that is not read does not live.
func (ch *channel) listen(ctx context.Context, s *socket) error {
	for {
		if _, err := s.read(ctx); err != nil {
			return err
		}
	}
}

func (ch *channel) use(s *socket) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	ch.socket = s
}

func (ch *channel) current() *socket {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	return ch.socket
}

// errNoChannel: the worker has to be seen in another way.
var errNoChannel = errors.New("the worker has no channel")

// heartbeat says on the channel that the worker is there. The first time, that has been said
// already.
func (ch *channel) heartbeat(ctx context.Context, w orchestrator.Worker, first bool) error {
	ctx, cancel := context.WithTimeout(ctx, setupTime)
	defer cancel()
	select {
	case <-ch.tried:
	case <-ctx.Done():
		return errNoChannel
	}
	s := ch.current()
	if s == nil {
		return errNoChannel
	}
	if first {
		return nil
	}
	// Nothing answers a heartbeat. What it was written to may have gone away without a word.
	err := s.send(ctx, newFrame("worker.heartbeat.v1", map[string]any{
		"consumer_id": ch.consumer, "worker_name": w.Name, "heartbeat_interval_seconds": wholeSeconds(w.Interval),
	}))
	if err == nil {
		err = s.ping(ctx)
	}
	if err != nil {
		s.drop() // who listens connects anew
	}
	return err
}

// close ends the connection, and returns when nobody uses it any more.
func (ch *channel) close() {
	if s := ch.current(); s != nil {
		s.leave()
	}
	ch.end()
	<-ch.done
}
