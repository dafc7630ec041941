package dockerinfra

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// Whoever sweeps while programs begin takes none of their files: nobody could sweep what they leave.
func TestOwnBesideSweeps(t *testing.T) {
	dir := t.TempDir()
	var sweeping sync.WaitGroup
	stop := make(chan struct{})
	for range 2 {
		sweeping.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				files, _ := filepath.Glob(filepath.Join(dir, "*"+lockSuffix))
				for _, path := range files {
					gone, err := seize(path)
					if err == nil && gone != nil {
						err = gone.release(true)
					}
					if err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	for range 10000 {
		d := New(&Options{Dir: dir})
		o, err := d.own(&engine{host: "unix:///x.sock", patience: time.Minute})
		if err != nil {
			t.Error(err)
			break
		}
		if _, err := os.Stat(o.file.Name()); err != nil {
			t.Errorf("the file of one who lives: %v", err)
			break
		}
		if err := d.Close(); err != nil {
			t.Error(err)
			break
		}
	}
	close(stop)
	sweeping.Wait()
}
