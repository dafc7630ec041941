package main

import (
	"fmt"
	"io"
	"runtime"
	"strings"
	"time"
)

// writeTable prints the results as Markdown. "×" is how often a time fits into Prefect's.
func writeTable(w io.Writer, results []result) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s/%s, %d CPUs, %s. Seconds, best of the rounds; × is Prefect's time divided by it; MiB is peak resident memory (%s or more, which the measuring program needed).\n\n",
		runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version(), memory(ownPeak()))
	b.WriteString("| files | size | Prefect | floor | `bundle digest` | × | of floor | MiB | unchanged, cached | × | MiB | `bundle build` | × | MiB | zip, of Prefect's |\n")
	b.WriteString("|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n")
	for _, r := range results {
		fmt.Fprintf(&b, "| %d | %.1f MiB | %s | %s | %s | %s | %.2f | %s | %s | %s | %s | %s | %s | %s | %s |\n",
			r.tree.files, mib(r.bytes), seconds(r.prefect), seconds(r.floor),
			seconds(r.digest), times(r.prefect, r.digest), r.digest.Seconds()/r.floor.Seconds(), memory(r.digestPeak),
			seconds(r.cached), times(r.prefect, r.cached), memory(r.cachedPeak),
			seconds(r.build), times(r.prefect, r.build), memory(r.peak), percent(r.zip, r.prefectZip))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func mib(n int64) float64 { return float64(n) / (1 << 20) }

func seconds(d time.Duration) string {
	if d == 0 {
		return "–"
	}
	return fmt.Sprintf("%.3f", d.Seconds())
}

func times(prefect, d time.Duration) string {
	if prefect == 0 {
		return "–"
	}
	return fmt.Sprintf("%.1f", prefect.Seconds()/d.Seconds())
}

func memory(n int64) string {
	if n == 0 {
		return "–"
	}
	return fmt.Sprintf("%.0f", mib(n))
}

func percent(n, of int64) string {
	if of == 0 {
		return "–"
	}
	return fmt.Sprintf("%.0f %%", 100*float64(n)/float64(of))
}
