package main

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

const (
	// progressDelay is how long a person waits without wondering.
	progressDelay = 300 * time.Millisecond
	// progressLines is how often a log gets a line.
	progressLines = 10 * time.Second
)

// progress shows how far a long operation is: a bar on a terminal, now and then a line in a
// log, nothing when it is short or the user asked for quiet.
type progress struct {
	c     *console
	verb  string
	total int64 // bytes; 0 when it is not known
	done  atomic.Int64
	end   chan struct{}
	ended sync.WaitGroup
}

// startProgress starts to show. The caller must call stop.
func (c *console) startProgress(verb string, total int64) *progress {
	p := &progress{c: c, verb: verb, total: total, end: make(chan struct{})}
	if !c.quiet {
		p.ended.Go(p.show)
	}
	return p
}

// add takes n further bytes for done. It may be called from several goroutines.
func (p *progress) add(n int64) { p.done.Add(n) }

func (p *progress) stop() {
	close(p.end)
	p.ended.Wait()
}

func (p *progress) show() {
	if p.c.errTerminal {
		p.bar()
	} else {
		p.lines()
	}
}

// amount says how much is done; "" for what is not counted in bytes.
func (p *progress) amount() string {
	switch done := p.done.Load(); {
	case p.total != 0:
		return humanSize(min(done, p.total)) + " of " + humanSize(p.total)
	case done != 0:
		return humanSize(done)
	}
	return ""
}

func (p *progress) lines() {
	tick := time.NewTicker(progressLines)
	defer tick.Stop()
	for {
		select {
		case <-p.end:
			return
		case <-tick.C:
			fmt.Fprintln(p.c.err, strings.TrimSuffix(p.verb+": "+p.amount(), ": "))
		}
	}
}

func (p *progress) bar() {
	select {
	case <-p.end:
		return
	case <-time.After(progressDelay):
	}
	screen := mpb.New(mpb.WithOutput(p.c.err), mpb.WithWidth(40))
	bar := screen.New(p.total, mpb.BarStyle().Lbound("").Rbound("").Filler("━").Tip("━").Padding("─"),
		mpb.BarRemoveOnComplete(),
		mpb.PrependDecorators(decor.Name(p.verb+" ")),
		mpb.AppendDecorators(decor.Any(func(decor.Statistics) string {
			return " " + p.amount()
		})))
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-p.end:
			bar.Abort(true)
			screen.Wait()
			return
		case <-tick.C:
			if p.total > 0 {
				bar.SetCurrent(min(p.done.Load(), p.total-1)) // a full bar would vanish
			}
		}
	}
}
