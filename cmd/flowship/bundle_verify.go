package main

import (
	"bufio"
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/flowship/flowship/bundle"
)

type verifyOptions struct {
	digest  string
	against string
	lock    string
}

func newVerifyCommand(c *console) *cobra.Command {
	opts := &verifyOptions{}
	cmd := &cobra.Command{
		Use:   "verify REF",
		Short: "Prove that a bundle holds what it says, and what you expect",
		Long: `Verify reads the whole bundle and compares every byte with what the document
promises. It then compares with what you know: the digest of the document (or of
the zip, where REF is a sidecar), the directory that it was built from, the lock
file in your repository. It exits 3 and lists what differs.

JSON: {"ok", "problems": [{"kind", "path", "detail"}]}; a kind is missing, extra,
content, mode, size, digest or document.`,
		Example: `  flowship bundle verify dist
  flowship bundle verify dist --lock flow.lock
  flowship bundle verify dist --against flows
  flowship bundle verify dist --digest sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae`,
		Args: arguments("REF"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runVerify(cmd.Context(), c, opts, args[0])
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&opts.digest, "digest", "", "what the document must hash to: `sha256:…`")
	flags.StringVar(&opts.against, "against", "", "`DIR` that must give the same files when packed again")
	flags.StringVar(&opts.lock, "lock", "", "lock `FILE` that the bundle must agree with")
	return cmd
}

func runVerify(ctx context.Context, c *console, opts *verifyOptions, ref string) error {
	want, err := opts.read()
	if err != nil {
		return err
	}
	report, err := verify(ctx, c, ref, want)
	if err != nil {
		return err
	}
	if isZeroDigest(opts.digest) {
		report.OK = false
		report.Problems = append(report.Problems, bundle.Problem{Kind: bundle.ProblemDigest, Path: ref, Detail: "nothing has the digest " + opts.digest})
	}
	if c.json {
		err = c.writeJSON(func(j *jsonWriter) {
			j.object(func() {
				j.member("ok", report.OK)
				j.key("problems")
				j.list(func() {
					for _, p := range report.Problems {
						j.element(p)
					}
				})
			})
		})
	} else {
		err = c.print(func(w *bufio.Writer) { writeProblems(w, c.outStyled, report) })
	}
	if err != nil || report.OK {
		return err
	}
	return opts.verdict(ref, report)
}

// read turns the flags into what the library compares with.
func (o *verifyOptions) read() (*bundle.VerifyOptions, error) {
	want := &bundle.VerifyOptions{Against: o.against}
	if o.digest != "" && !isZeroDigest(o.digest) {
		var err error
		if want.Digest, err = bundle.ParseDigest(o.digest); err != nil {
			return nil, &usageError{err: err}
		}
	}
	if o.lock != "" {
		var err error
		if want.Lock, err = bundle.OpenLock(o.lock); err != nil {
			hint := "write it again: bundle build --write-lock " + o.lock
			if bundle.KindOf(err) == bundle.KindNotFound {
				hint = "write it first: bundle build --write-lock " + o.lock
			}
			return nil, &hinted{err: err, hint: hint}
		}
	}
	return want, nil
}

func verify(ctx context.Context, c *console, ref string, want *bundle.VerifyOptions) (*bundle.Report, error) {
	b, err := c.openBundle(ctx, ref)
	if err != nil {
		return bundle.ReportOf(ref, err) // not even a bundle may be a finding, not a failure
	}
	defer b.close()
	p := c.startProgress("verifying", b.size())
	defer p.stop()
	want.Progress = p.add
	return b.Verify(ctx, want)
}

func writeProblems(w *bufio.Writer, styled bool, report *bundle.Report) {
	if report.OK {
		w.WriteString(paint(styled, green, "ok") + "\n")
		return
	}
	t := &table{head: []string{"PROBLEM", "PATH", "DETAIL"}}
	for _, p := range report.Problems {
		t.add(cell{string(p.Kind), red}, text(shown(p.Path)), text(shown(p.Detail)))
	}
	t.write(w, styled)
}

// verdict is the error of a bundle that does not verify.
func (o *verifyOptions) verdict(ref string, report *bundle.Report) error {
	hint := readingHint(bundle.KindTampered)
	switch {
	case o.lock != "":
		hint = "if the change is meant, write the lock file again: bundle build --write-lock " + o.lock
	case o.against != "":
		hint = "if the directory is as it should be, build the bundle again"
	}
	return &hinted{
		err:  errors.New(shown(ref) + " does not verify: " + count(len(report.Problems), "problem")),
		kind: kind(bundle.KindTampered),
		hint: hint,
	}
}

// isZeroDigest reports whether --digest is zeros alone, which is well formed, but nothing has it.
func isZeroDigest(digest string) bool {
	return strings.TrimPrefix(digest, "sha256:") == (bundle.Digest{}).Hex()
}
