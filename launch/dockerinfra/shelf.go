package dockerinfra

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/client"

	"github.com/flowship/flowship/launch"
)

// LabelShelf is on the volumes of the engine that hold files which are the same for many jobs. Its
// value is a different text for each time that one is filled.
const LabelShelf = "dev.flowship.shelf"

// shelf is a volume with files that are the same for many jobs, such as an executor, so that the
// engine gets them once, and containers that are kept do not hold a copy each. Its name is made of
// the contents. Jobs have it mounted for reading only.
//
// Who makes the volume fills it, and nobody else: the label that the engine answers with tells. As
// long as the files are not all there, other jobs get copies of their own.
type shelf struct {
	name, dir string // the volume's, and where jobs have it
	token     string
	ours      bool // this plan has made it
	made      string
	files     []launch.File // with their paths in jobs
}

// complete is the time of files on a shelf. The engine sets it when it has written the file.
var complete = time.Unix(1, 0)

const (
	abandoned = time.Hour          // age of a shelf whose files are still missing, when it is given up
	outdated  = 7 * 24 * time.Hour // age of one that no container has, when another one is filled
)

// shelve finds or makes the shelf of the job's files; nil if the job has none, or none that
// can be mounted.
func (p *plan) shelve(ctx context.Context, e *engine) (*shelf, error) {
	s := &shelf{token: strings.ToLower(rand.Text())}
	for _, f := range p.job.Files {
		if f.Shared {
			s.files = append(s.files, f)
			s.dir = path.Dir(f.Path)
		}
	}
	// What is mounted hides what else is there.
	for _, f := range p.job.Files {
		if dir := path.Dir(f.Path); f.Shared && dir != s.dir || !f.Shared && strings.HasPrefix(dir+"/", s.dir+"/") {
			return nil, nil
		}
	}
	if len(s.files) == 0 || s.dir == "/" {
		return nil, nil
	}
	var err error
	if s.name, err = shelfName(s.files); err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	// It does not end with ctx: the engine would make the volume all the same.
	settled, cancel := context.WithTimeout(context.WithoutCancel(ctx), settle)
	defer cancel()
	created, err := e.api.VolumeCreate(settled, client.VolumeCreateOptions{Name: s.name, Labels: map[string]string{LabelShelf: s.token}})
	if err != nil {
		return nil, nil // an engine without volumes; one that does not answer says so again
	}
	s.ours, s.made = created.Volume.Labels[LabelShelf] == s.token, created.Volume.CreatedAt
	return s, nil
}

// shelfName is the name of the volume that holds the files.
func shelfName(files []launch.File) (string, error) {
	h := sha256.New()
	for _, f := range files {
		if err := hashShared(h, f); err != nil {
			return "", err
		}
	}
	return "flowship-" + hex.EncodeToString(h.Sum(nil)[:20]), nil
}

func hashShared(to io.Writer, file launch.File) error {
	f, err := os.Open(file.Source)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.CopyBuffer(h, struct{ io.Reader }{f}, make([]byte, 1<<20)); err != nil { // a program is large
		return err
	}
	_, err = fmt.Fprintf(to, "%q %o %x\n", path.Base(file.Path), file.Mode.Perm(), h.Sum(nil))
	return err
}

func (s *shelf) mount(readOnly bool) mount.Mount {
	return mount.Mount{Type: mount.TypeVolume, Source: s.name, Target: s.dir, ReadOnly: readOnly, VolumeOptions: &mount.VolumeOptions{NoCopy: true}}
}

// make makes the job's container, and says which files are still to be put into it.
func (p *plan) make(ctx context.Context, e *engine) (cid string, rest []launch.File, err error) {
	s, err := p.shelve(ctx, e)
	if err != nil {
		return "", nil, err
	}
	if s == nil {
		cid, err = p.create(ctx, e)
		return cid, p.job.Files, err
	}
	host := &p.request.host
	own := host.Mounts
	host.Mounts = append(slices.Clip(own), s.mount(true))
	if cid, err = p.create(ctx, e); err != nil {
		if s.ours {
			s.giveUp(ctx, e)
		}
		return "", nil, err
	}
	full := s.full
	if s.ours {
		full = s.fill(p)
	}
	if full(ctx, e, cid) {
		return cid, slices.DeleteFunc(slices.Clone(p.job.Files), func(f launch.File) bool { return f.Shared }), nil
	}
	if ctx.Err() != nil && !s.ours {
		return cid, nil, context.Cause(ctx)
	}
	if err := e.remove(context.WithoutCancel(ctx), cid); err != nil {
		return cid, nil, err
	}
	s.giveUp(ctx, e)
	if ctx.Err() != nil {
		return "", nil, context.Cause(ctx)
	}
	host.Mounts = own
	cid, err = p.create(ctx, e)
	return cid, p.job.Files, err
}

// full reports whether the files are there, which a container shows that has the shelf.
func (s *shelf) full(ctx context.Context, e *engine, cid string) bool {
	for _, f := range s.files {
		here, err := os.Stat(f.Source)
		if err != nil {
			return false
		}
		there, err := e.api.ContainerStatPath(ctx, cid, client.ContainerStatPathOptions{Path: f.Path})
		if err != nil || there.Stat.Size != here.Size() || !there.Stat.Mtime.Equal(complete) {
			return false
		}
	}
	return true
}

// fill returns what puts the files onto the shelf, by a container that never starts.
func (s *shelf) fill(p *plan) func(context.Context, *engine, string) bool {
	return func(ctx context.Context, e *engine, _ string) bool {
		labels := maps.Clone(p.request.config.Labels)
		delete(labels, LabelKeep) // it is removed if this program is killed meanwhile
		created, err := e.createOnce(ctx, client.ContainerCreateOptions{
			Config:     &container.Config{Image: p.request.config.Image, Cmd: []string{"true"}, Labels: labels},
			HostConfig: &container.HostConfig{Mounts: []mount.Mount{s.mount(false)}},
			Platform:   p.request.platform,
		})
		if err != nil {
			return false
		}
		s.tidy(ctx, e)
		err = e.give(ctx, created.ID, s.files, nil)
		full := err == nil && s.full(ctx, e, created.ID)
		return e.remove(context.WithoutCancel(ctx), created.ID) == nil && full
	}
}

// giveUp removes a shelf that this plan could not fill, also when ctx has ended, or that nobody has
// filled for long. The engine keeps one that is in use.
func (s *shelf) giveUp(ctx context.Context, e *engine) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settle)
	defer cancel()
	if s.ours || older(s.made, abandoned) {
		e.api.VolumeRemove(ctx, s.name, client.VolumeRemoveOptions{})
	}
}

// tidy removes what earlier versions have left.
func (s *shelf) tidy(ctx context.Context, e *engine) {
	unused := make(client.Filters).Add("label", LabelShelf).Add("dangling", "true")
	list, err := e.api.VolumeList(ctx, client.VolumeListOptions{Filters: unused})
	if err != nil {
		return // the next one tries again
	}
	for _, v := range list.Items {
		if older(v.CreatedAt, outdated) {
			e.api.VolumeRemove(ctx, v.Name, client.VolumeRemoveOptions{})
		}
	}
}

func older(made string, age time.Duration) bool {
	at, err := time.Parse(time.RFC3339, made)
	return err == nil && time.Since(at) > age
}
