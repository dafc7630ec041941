package main

import (
	"bufio"
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/flowship/flowship/bundle/oci"
	"github.com/flowship/flowship/storage"
	"github.com/flowship/flowship/submit"
)

func newPushCommand(c *console) *cobra.Command {
	return &cobra.Command{
		Use:   "push DIR URL",
		Short: "Bring a bundle into a store or a registry",
		Long: `Push verifies the bundle that bundle build wrote and brings it into the store at URL:
first the sidecar and the program, unless they are there already, then the document.
It prints the reference that the other commands take. Pushing it again stores
nothing and prints the same.

With oci://REGISTRY/REPOSITORY:TAG it goes into a container registry, as an artifact
whose digest follows from the bundle alone; the reference then has that digest. The
credentials are those of docker login.

JSON: {"ref", "url", "key", "digest", "files_key", "uploaded_bytes",
"reused_bytes"}; files_key is null when no files travel, and in a registry key is the
digest of the artifact.`,
		Example: `  flowship bundle push dist s3://acme-bundles
  flowship bundle push dist file:///srv/bundles
  flowship bundle push dist oci://ghcr.io/acme/train:1`,
		Args: arguments("DIR", "URL"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runPush(cmd.Context(), c, args[0], args[1])
		},
	}
}

func runPush(ctx context.Context, c *console, dir, url string) error {
	if oci.IsReference(url) {
		return pushToRegistry(ctx, c, dir, url)
	}
	client, err := c.openClient(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	pushed, err := client.Push(ctx, dir, url, c.transfer())
	if err != nil {
		return aboutTransfer(err)
	}
	ref := submit.ObjectURL(pushed.URL, pushed.Key)
	if !c.json {
		return c.print(func(w *bufio.Writer) { w.WriteString(ref + "\n") })
	}
	return c.writeJSON(func(j *jsonWriter) {
		j.object(func() {
			j.member("ref", ref)
			j.member("url", pushed.URL)
			j.member("key", pushed.Key)
			j.member("digest", pushed.Digest.String())
			j.member("files_key", orNull(pushed.FilesKey))
			j.member("uploaded_bytes", pushed.UploadedBytes)
			j.member("reused_bytes", pushed.ReusedBytes)
		})
	})
}

// transfer shows how far a push or pull is.
func (c *console) transfer() *submit.TransferOptions {
	return &submit.TransferOptions{Progress: func(step string, total int64) (func(int64), func()) {
		p := c.startProgress(stepVerbs[step], total)
		return p.add, p.stop
	}}
}

// aboutTransfer gives errors about bundles on their way their hints.
func aboutTransfer(err error) error {
	if errors.Is(err, storage.ErrConflict) {
		return &hinted{err: err, hint: "another archive of the same files is stored there, or a damaged one; push to another store, or to a prefix: URL/PREFIX"}
	}
	return unavailableStore(err)
}
