package processinfra

import (
	"io"
	"os"
	"sync"
	"time"
)

// output returns what the process writes to. A file it gets itself; for anything else there is
// a pipe, which package exec must not know: it would wait for whoever holds the other end.
func (p *process) output(w io.Writer) (io.Writer, error) {
	f, isFile := w.(*os.File)
	if w == nil || isFile && f == nil {
		return nil, nil
	}
	if isFile {
		return f, nil
	}
	r, end, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	p.out = append(p.out, &pump{from: r, writeEnd: end, to: w})
	return end, nil
}

// closeWriteEnds leaves the write ends of the pipes to the process; when there is none, the
// read ends go as well.
func (p *process) closeWriteEnds() {
	for _, o := range p.out {
		o.writeEnd.Close()
		if p.cmd.Process == nil {
			o.from.Close()
		}
	}
}

// pump passes output on.
type pump struct {
	from, writeEnd *os.File
	to             io.Writer
	done           sync.WaitGroup
}

func (o *pump) run() {
	io.Copy(o.to, o.from)
	// If nobody wants the output any more, the process shall learn it as from any closed pipe.
	o.from.Close()
}

// stray is how long output may still come from a process that left the group and kept the
// pipe: it is not ours to kill.
const stray = 2 * time.Second
