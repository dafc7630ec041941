package submit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/flowship/flowship/bundle"
	"github.com/flowship/flowship/launch"
	"github.com/flowship/flowship/launch/processinfra"
	"github.com/flowship/flowship/storage"
	"github.com/flowship/flowship/submit/orchestrator"
	"github.com/flowship/flowship/submit/orchestrator/prefect"
)

// ClientOptions are the options of [OpenClient]; nil is the default.
type ClientOptions struct {
	// Home is where bundles, flow runs and the cache live. "" stands for the directories of
	// the XDG base directory specification.
	Home string
	// Executor is the start of the command line that runs a step, "flowship step" in full. The
	// client appends "execute", "launch" or "deployment" and their flags. Needed to launch anything.
	Executor []string
	// Storage is how stores are opened; nil, or without openers, is by the drivers of gocloud.dev
	// that the program links in. A folder to store in is made in any case.
	Storage *storage.OpenOptions
	// Infrastructures are where jobs run, beside local processes: by Prefect's type of their work
	// pools.
	Infrastructures map[string]*launch.Infrastructure
	// Prefect are the settings of the Prefect server where flow runs and work pools live; nil is
	// the embedded default. See [prefect.Discover].
	Prefect *prefect.Settings
	// Warn, if not nil, is called with what is to be said about the Prefect server, at most once, and
	// about each flow run, waited for or cancelled, that nobody looks after and whose job cannot be
	// looked for from here; from several goroutines.
	Warn func(warning string)
	// Grace is how long a run that is cancelled may take to end after SIGINT, and again after
	// SIGTERM; 0 means 10 seconds.
	Grace time.Duration
	// Lease is how long a run is taken to go on without a sign of life from those who look
	// after it, where the system does not tell sooner that they are gone; 0 means
	// [orchestrator.LeaseLength].
	Lease time.Duration
}

// Client packs, stores and runs. It is safe for concurrent use, and so are several clients, in
// several processes, at one home.
type Client struct {
	home     string // as it was given, but absolute
	state    string
	itself   bool     // the executor is this program, see [OwnExecutor]
	executor []string // see needExecutor
	storage  *storage.OpenOptions
	prefect  *prefect.Settings // nil for the embedded default
	warnOf   func(string)      // or nil
	unfound  sync.Map          // ids of the flow runs that it was told of
	grace    time.Duration
	length   time.Duration // of a lease
	cache    *bundle.Cache // nil without a place for it
	infra    *launch.Infrastructure
	others   map[string]*launch.Infrastructure

	closed context.Context // ends with Close
	end    context.CancelFunc

	mu       sync.Mutex // guards what is there when first needed
	runs     backend
	watching *orchestrator.Watcher

	opening sync.Mutex         // guards buckets; a bucket may need runs to be opened
	buckets map[string]*bucket // by URL

	attendance attendance
}

// OpenClient returns a client of the embedded default, or of a Prefect server. It touches nothing
// yet.
func OpenClient(_ context.Context, opts *ClientOptions) (*Client, error) {
	if opts == nil {
		opts = &ClientOptions{}
	}
	state, err := StateDir(opts.Home)
	if err != nil {
		return nil, fmt.Errorf("submit: %w", err)
	}
	c := &Client{
		home: opts.Home, state: state, executor: opts.Executor, storage: stores(opts.Storage), prefect: opts.Prefect, others: opts.Infrastructures, warnOf: opts.Warn,
		grace: opts.Grace, length: opts.Lease, buckets: map[string]*bucket{},
	}
	if c.prefect != nil {
		c.storage = withBlocks(c.storage, c.block)
		c.length = cmp.Or(c.length, prefect.LeaseLength)
	}
	if cache, err := CacheDir(opts.Home); err == nil { // else slower, no less right
		c.cache = bundle.OpenCache(cache)
	}
	if c.home != "" {
		c.home = state // for the command, which runs elsewhere
	}
	if c.grace == 0 {
		c.grace = 10 * time.Second
	}
	c.closed, c.end = context.WithCancel(context.Background())
	c.infra = launch.New(processinfra.Type, processinfra.New(&processinfra.Options{Dir: c.path("run")}))
	return c, nil
}

// needExecutor sees to it that there is an executor.
func (c *Client) needExecutor(ctx context.Context) (err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.itself && c.executor == nil {
		if c.executor, err = OwnExecutor(ctx, c.home); err != nil {
			return fmt.Errorf("submit: %w", err)
		}
	}
	if len(c.executor) == 0 {
		return fmt.Errorf("submit: %w", errNoExecutor)
	}
	return nil
}

// path is a path in the state directory.
func (c *Client) path(name string) string { return filepath.Join(c.state, name) }

// errClosed: the client is not to be used any more.
var errClosed = errors.New("the client is closed")

// Close closes what the client opened, when what was called has returned: only those who wait
// for the end of a run are told that it is closed. What was submitted goes on.
func (c *Client) Close() error {
	c.end()
	c.opening.Lock()
	defer c.opening.Unlock()
	var errs []error
	for _, b := range c.buckets {
		errs = append(errs, b.Close())
	}
	clear(c.buckets)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.watching != nil {
		c.watching.Close()
	}
	if c.runs != nil {
		errs = append(errs, c.runs.Close())
	}
	c.runs, c.watching = nil, nil
	return errors.Join(errs...)
}

// openRuns returns the orchestrator.
func (c *Client) openRuns(ctx context.Context) (backend, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed.Err() != nil {
		return nil, fmt.Errorf("submit: %w", errClosed)
	}
	if c.runs == nil {
		runs, err := openBackend(ctx, c.prefect, databasePath(c.state), c.warnOf)
		if err != nil {
			return nil, fmt.Errorf("submit: %w", err)
		}
		c.runs = runs
	}
	return c.runs, nil
}

// onPrefect reports whether flow runs live on a Prefect server.
func (c *Client) onPrefect() bool { return c.prefect != nil }

// lookTime is how long runs are looked for that nobody looks after, where others look as well.
const lookTime = 2 * time.Second

// currentRuns returns the orchestrator, after it has ended the runs that nobody looks after any
// more. On a Prefect server, where workers do so all the time, this is not to hold anybody up.
func (c *Client) currentRuns(ctx context.Context) (backend, error) {
	runs, err := c.openRuns(ctx)
	if err != nil {
		return nil, err
	}
	if c.onPrefect() {
		soon, cancel := context.WithTimeout(ctx, lookTime)
		defer cancel()
		runs.EndLost(soon) // what is wrong with the server shows with what was asked for
		c.settleAbandoned(soon, runs)
		return runs, nil
	}
	c.settleAbandoned(ctx, runs)
	if _, err := runs.EndLost(ctx); err != nil {
		return nil, fmt.Errorf("submit: %w", err)
	}
	return runs, nil
}

// watcher returns what waits for all of this client's runs.
func (c *Client) watcher(runs backend) *orchestrator.Watcher {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.watching == nil {
		c.watching = orchestrator.NewWatcher(runs, 0)
	}
	return c.watching
}

// temporary makes a directory for files on their way, and removes what killed processes left.
// It is on a disk, where a system's own temporary directory may be in memory.
func (c *Client) temporary() (dir string, remove func(), err error) {
	parent := c.path("tmp")
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return "", nil, err
	}
	entries, err := os.ReadDir(parent)
	if err != nil {
		return "", nil, err
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil && time.Since(info.ModTime()) > stale {
			os.RemoveAll(filepath.Join(parent, e.Name()))
		}
	}
	if dir, err = os.MkdirTemp(parent, ""); err != nil {
		return "", nil, err
	}
	return dir, func() { os.RemoveAll(dir) }, nil
}
