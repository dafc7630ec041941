package dockerinfra

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"

	"github.com/flowship/flowship/launch"
)

// missing are the directories of files that a container does not have.
func (e *engine) missing(ctx context.Context, cid string, files []launch.File) (dirs []string) {
	for _, f := range files {
		dir := path.Dir(f.Path)
		if slices.Contains(dirs, dir) {
			continue
		}
		if _, err := e.api.ContainerStatPath(ctx, cid, client.ContainerStatPathOptions{Path: dir}); errdefs.IsNotFound(err) {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

// give puts files into a container that has not started, which makes the directories that they
// need. They belong to root. The directories for files that are to be taken, if the image does not
// have them, are for all users of the container to write to.
func (e *engine) give(ctx context.Context, cid string, files, take []launch.File) error {
	dirs := e.missing(ctx, cid, take)
	if len(files)+len(dirs) == 0 {
		return nil
	}
	archive, to := io.Pipe()
	written := make(chan error, 1)
	go func() { // ends at the latest when nobody reads the archive any more
		err := writeArchive(to, dirs, files)
		to.CloseWithError(err)
		written <- err
	}()
	_, err := e.api.CopyToContainer(ctx, cid, client.CopyToContainerOptions{DestinationPath: "/", Content: archive})
	archive.CloseWithError(errNobodyReads)
	// The client closes the archive itself when the engine refuses it.
	if local := <-written; local != nil && !errors.Is(local, errNobodyReads) && !errors.Is(local, io.ErrClosedPipe) {
		return local
	}
	if err != nil {
		return fmt.Errorf("put files into the container: %w", e.because(ctx, err))
	}
	return nil
}

var errNobodyReads = errors.New("the engine has read enough")

func writeArchive(to io.Writer, dirs []string, files []launch.File) error {
	archive := tar.NewWriter(to)
	for _, dir := range dirs {
		if err := archive.WriteHeader(&tar.Header{Name: strings.Trim(dir, "/") + "/", Mode: 0o1777, ModTime: complete, Typeflag: tar.TypeDir}); err != nil {
			return err
		}
	}
	for _, f := range files {
		if err := addFile(archive, f); err != nil {
			return err
		}
	}
	return archive.Close()
}

func addFile(archive *tar.Writer, file launch.File) error {
	f, err := os.Open(file.Source)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%q is not a regular file", file.Source)
	}
	mode := file.Mode.Perm()
	if mode == 0 {
		mode = info.Mode().Perm()
	}
	header := &tar.Header{Name: strings.TrimPrefix(file.Path, "/"), Mode: int64(mode), Size: info.Size(), ModTime: info.ModTime(), Typeflag: tar.TypeReg}
	if file.Shared {
		header.ModTime = complete
	}
	if err := archive.WriteHeader(header); err != nil {
		return err
	}
	if n, err := io.Copy(archive, f); err != nil {
		return err
	} else if n != info.Size() {
		return fmt.Errorf("%q became shorter while it was copied", file.Source)
	}
	return nil
}

// take copies files out of a container. All are tried.
func (e *engine) take(ctx context.Context, cid string, files []launch.File) error {
	var errs []error
	for _, f := range files {
		if err := e.takeFile(ctx, cid, f); err != nil {
			errs = append(errs, fmt.Errorf("take %q out of the container: %w", f.Path, err))
		}
	}
	return errors.Join(errs...)
}

func (e *engine) takeFile(ctx context.Context, cid string, file launch.File) error {
	r, err := e.api.CopyFromContainer(ctx, cid, client.CopyFromContainerOptions{SourcePath: file.Path})
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return e.because(ctx, err)
	}
	defer r.Content.Close()
	archive := tar.NewReader(r.Content)
	header, err := archive.Next()
	if err != nil {
		return err
	}
	if header.Typeflag != tar.TypeReg || path.Base(header.Name) != path.Base(file.Path) {
		return errors.New("it is not a regular file")
	}
	mode := file.Mode.Perm()
	if mode == 0 {
		mode = header.FileInfo().Mode().Perm()
	}
	to, err := os.CreateTemp(filepath.Dir(file.Source), ".flowship-*")
	if err != nil {
		return err
	}
	_, err = io.Copy(to, archive)
	err = errors.Join(err, to.Chmod(mode), to.Close())
	if err == nil {
		err = os.Rename(to.Name(), file.Source)
	}
	if err != nil {
		return errors.Join(err, os.Remove(to.Name()))
	}
	return nil
}
