//go:build unix && !race

package storage_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"gocloud.dev/blob"

	"github.com/flowship/flowship/storage"
	"github.com/flowship/flowship/storage/gocloud"
)

// A process that is told so in its environment makes one transfer, so that its memory can be
// taken. The value is: what, URL of the store, key, file, digest.
const transferVariable = "FLOWSHIP_TEST_TRANSFER"

func TestMain(m *testing.M) {
	if what := os.Getenv(transferVariable); what != "" {
		if err := transfer(context.Background(), strings.Split(what, "\n")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func transfer(ctx context.Context, what []string) error {
	verb, url, key, path := what[0], what[1], what[2], what[3]
	var digest storage.Digest
	if _, err := hex.Decode(digest[:], []byte(what[4])); err != nil {
		return err
	}
	var f *os.File
	var err error
	if strings.HasPrefix(verb, "put") {
		f, err = os.Open(path)
	} else if verb == "get-sdk" {
		f, err = os.Create(path)
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if strings.HasSuffix(verb, "-sdk") {
		return transferBySDK(ctx, verb, url, key, f)
	}
	s, err := storage.Open(ctx, url, &storage.OpenOptions{Create: true, Openers: gocloud.Openers(nil)})
	if err != nil {
		return err
	}
	defer s.Close()
	if verb == "get" {
		return s.Get(ctx, key, path, &storage.GetOptions{SHA256: digest})
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	_, err = s.Put(ctx, key, f, storage.PutOptions{Size: info.Size(), SHA256: digest, Replace: true})
	return err
}

// transferBySDK is how Amazon's own library does it, as it comes.
func transferBySDK(ctx context.Context, verb, url, key string, f *os.File) error {
	b, err := blob.OpenBucket(ctx, url)
	if err != nil {
		return err
	}
	defer b.Close()
	var client *s3.Client
	if !b.As(&client) {
		return errors.New("not S3")
	}
	manager := transfermanager.New(client)
	if verb == "put-sdk" {
		_, err = manager.UploadObject(ctx, &transfermanager.UploadObjectInput{Bucket: aws.String("bkt"), Key: aws.String(key), Body: f})
		return err
	}
	if _, err := manager.DownloadObject(ctx, &transfermanager.DownloadObjectInput{Bucket: aws.String("bkt"), Key: aws.String(key), WriterAt: f}); err != nil {
		return err
	}
	return f.Sync()
}

// However large an object is, it takes no more than 128 MiB to store it and to get it.
func TestTransferMemory(t *testing.T) {
	const size = 150 << 20
	dir := t.TempDir()
	source, got := filepath.Join(dir, "source"), filepath.Join(dir, "got")
	if err := os.WriteFile(source, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(source, size); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(source)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	for server := range clouds {
		t.Run(server, func(t *testing.T) {
			url := bucketURL(t, server).String()
			for _, verb := range []string{"put", "get"} {
				path := source
				if verb == "get" {
					path = got
				}
				cmd := exec.Command(os.Args[0])
				cmd.Env = append(os.Environ(), transferVariable+"="+strings.Join([]string{verb, url, "k", path, hex.EncodeToString(h.Sum(nil))}, "\n"))
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Fatalf("%s: %v\n%s", verb, err, out)
				}
				peak := residentKiB(cmd.ProcessState)
				t.Logf("%s: %d MiB", verb, peak>>10)
				if peak > 128<<10 {
					t.Errorf("%s took %d MiB", verb, peak>>10)
				}
			}
		})
	}
}

// BenchmarkTransfer moves one object of $FLOWSHIP_BENCH_MIB, by default 1024 MiB, as whole
// processes; -benchtime 3x is enough. The SDK verifies nothing, and cp does not wait for the disk.
//
//	go run ./cmd/testbed -servers s3 go test -run ^$ -bench Transfer -benchtime 3x ./storage
func BenchmarkTransfer(b *testing.B) {
	size := int64(1 << 30)
	if mib, err := strconv.ParseInt(os.Getenv("FLOWSHIP_BENCH_MIB"), 10, 32); err == nil {
		size = mib << 20
	}
	dir := b.TempDir()
	source, copied := filepath.Join(dir, "source"), filepath.Join(dir, "copied")
	f, err := os.Create(source)
	if err != nil {
		b.Fatal(err)
	}
	h := sha256.New()
	_, err = io.CopyN(io.MultiWriter(f, h), rand.Reader, size)
	if err := errors.Join(err, f.Close()); err != nil {
		b.Fatal(err)
	}
	digest := hex.EncodeToString(h.Sum(nil))
	folder, err := storage.FolderURL(filepath.Join(dir, "store"))
	if err != nil {
		b.Fatal(err)
	}
	us := func(verb, url, path string) []string { return []string{verb, url, "bench", path, digest} }
	measure := func(name string, command func(url string) (args, what []string)) {
		b.Run(name, func(b *testing.B) {
			url := folder
			if strings.HasPrefix(name, "s3/") {
				u := bucketURL(b, "s3")
				u.Path = ""
				url = u.String()
			}
			var peak int64
			b.SetBytes(size)
			for b.Loop() {
				args, what := command(url)
				cmd := exec.Command(args[0], args[1:]...)
				cmd.Env = append(os.Environ(), transferVariable+"="+strings.Join(what, "\n"))
				if out, err := cmd.CombinedOutput(); err != nil {
					b.Fatalf("%v\n%s", err, out)
				}
				peak = max(peak, residentKiB(cmd.ProcessState))
			}
			b.ReportMetric(float64(peak)/1024, "MiB-peak")
		})
	}
	self := []string{os.Args[0]}
	for _, verb := range []string{"put", "put-sdk", "get", "get-sdk"} {
		measure("s3/"+verb, func(url string) ([]string, []string) {
			if strings.HasPrefix(verb, "put") {
				return self, us(verb, url, source)
			}
			return self, us(verb, url, copied)
		})
	}
	measure("folder/put", func(url string) ([]string, []string) { return self, us("put", url, source) })
	measure("folder/get", func(url string) ([]string, []string) { return self, us("get", url, copied) })
	measure("folder/cp", func(string) ([]string, []string) { return []string{"cp", source, copied}, nil })
	measure("folder/cp+sync+sha256sum", func(string) ([]string, []string) {
		return []string{"sh", "-c", `cp "$1" "$2" && sync "$2" && sha256sum "$2"`, "sh", source, copied}, nil
	})
}

func residentKiB(s *os.ProcessState) int64 {
	usage, ok := s.SysUsage().(*syscall.Rusage)
	if !ok {
		return 0
	}
	if runtime.GOOS == "darwin" {
		return usage.Maxrss / 1024
	}
	return int64(usage.Maxrss)
}
