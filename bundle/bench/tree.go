package main

import (
	"bufio"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"
)

// tree describes generated files. The same tree has the same content in every run.
type tree struct {
	name  string
	files int
	size  func(r *rand.Rand) int // of one file, in bytes
}

var (
	// Sources, configuration and small tables: 256 bytes to 8 KiB, small ones more often.
	small = func(r *rand.Rand) int { return 256<<r.IntN(5) + r.IntN(4096)>>r.IntN(4) }
	// One part of a large table.
	large = func(*rand.Rand) int { return 64 << 20 }
)

func treeNamed(name string) (tree, error) {
	switch name {
	case "1500":
		return tree{name, 1500, small}, nil
	case "16384":
		return tree{name, 16384, small}, nil
	case "100000":
		return tree{name, 100000, small}, nil
	case "1gib":
		return tree{name, 16, large}, nil
	}
	return tree{}, fmt.Errorf("no tree is named %q; there are 1500, 16384, 100000 and 1gib", name)
}

// make writes the tree and returns its size. All files are a minute old.
func (t tree) make(root string) (int64, error) {
	const perFolder = 100
	old := time.Now().Add(-time.Minute).Truncate(time.Second)
	r := rand.New(rand.NewPCG(1, uint64(t.files)))
	var total int64
	for i := range t.files {
		dir := filepath.Join(root, fmt.Sprintf("part-%02d", i/perFolder/perFolder), fmt.Sprintf("group-%02d", i/perFolder%perFolder))
		if i%perFolder == 0 {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return 0, err
			}
		}
		size := t.size(r)
		// Of twenty files, eight are tables, five are JSON, four are sources, and three do not compress, as images and Parquet do not.
		ext, write := ".csv", writeCSV
		switch k := i % 20; {
		case k >= 17:
			ext, write = ".parquet", writeRandom
		case k >= 13:
			ext, write = ".py", writePython
		case k >= 8:
			ext, write = ".json", writeJSON
		}
		path := filepath.Join(dir, fmt.Sprintf("item-%05d%s", i, ext))
		if err := writeFile(path, size, r, write); err != nil {
			return 0, err
		}
		if err := os.Chtimes(path, old, old); err != nil {
			return 0, err
		}
		total += int64(size)
	}
	return total, nil
}

// writeFile cuts what write makes, again and again, to size.
func writeFile(path string, size int, r *rand.Rand, write func(w io.Writer, r *rand.Rand, n int)) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	c := &cut{w: bufio.NewWriterSize(f, 64<<10), left: size}
	for n := 0; c.left > 0 && c.err == nil; n++ {
		write(c, r, n)
	}
	if c.err == nil {
		c.err = c.w.Flush()
	}
	if c.err != nil {
		return c.err
	}
	return f.Close()
}

// cut passes on what fits, and keeps the error.
type cut struct {
	w    *bufio.Writer
	left int
	err  error
}

func (c *cut) Write(p []byte) (int, error) {
	n, err := c.w.Write(p[:min(len(p), c.left)])
	c.left -= n
	c.err = err
	return len(p), err
}

var (
	cities = []string{"Aachen", "Bergen", "Cardiff", "Dijon", "Évora", "Faro", "Gdańsk", "Hamar"}
	words  = []string{"amount", "order", "region", "customer", "day", "total", "price", "count", "rate", "store", "item", "batch"}
)

func word(r *rand.Rand) string { return words[r.IntN(len(words))] }

func writeCSV(w io.Writer, r *rand.Rand, n int) {
	if n == 0 {
		io.WriteString(w, "order,day,city,amount,rate\n")
	}
	fmt.Fprintf(w, "%d,2026-%02d-%02d,%s,%d.%02d,%.6f\n", 100000+n, 1+r.IntN(12), 1+r.IntN(28), cities[r.IntN(len(cities))], r.IntN(5000), r.IntN(100), r.Float64())
}

func writeJSON(w io.Writer, r *rand.Rand, n int) {
	fmt.Fprintf(w, "{\"id\": \"%016x\", \"kind\": %q, \"values\": {%q: %d, %q: %.4f}, \"tags\": [%q, %q]}\n", r.Uint64(), word(r), word(r), r.IntN(100000), word(r), r.Float64()*100, word(r), word(r))
}

func writePython(w io.Writer, r *rand.Rand, n int) {
	a, b, c := word(r), word(r), word(r)
	fmt.Fprintf(w, "def %s_%s_%d(%s, %s=%d):\n    \"\"\"Returns the %s of a %s.\"\"\"\n    if %s is None:\n        raise ValueError(\"no %s given\")\n    return [row[%q] * %s for row in %s if row[%q] > %d]\n\n\n",
		a, b, n, b, c, r.IntN(100), a, b, b, b, a, c, b, c, r.IntN(1000))
}

func writeRandom(w io.Writer, r *rand.Rand, _ int) {
	var block [256]byte
	for i := range block {
		block[i] = byte(r.Uint32())
	}
	w.Write(block[:])
}

// walkReadHash is the floor: it does the least that a digest needs, in the plainest way, and returns the number of bytes.
func walkReadHash(root string) (int64, error) {
	h := sha256.New()
	buf := make([]byte, 256<<10)
	var total int64
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		for {
			n, err := f.Read(buf)
			h.Write(buf[:n])
			total += int64(n)
			if err == io.EOF {
				return nil
			} else if err != nil {
				return err
			}
		}
	})
	return total, err
}
