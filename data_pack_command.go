package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"lte/config"
	"lte/data"
	"lte/data/limit"
	"lte/data/packed"
	"lte/internal/quote"

	"github.com/schollz/progressbar/v3"
)

// dataCommands work on image sets.
type dataCommands struct {
	Fetch fetchCommand `cmd:"" help:"Download a public set from its official address; an interrupted download goes on where it stood."`
	Info  infoCommand  `cmd:"" help:"Say what a set holds: kind, classes, counts, sizes, a histogram, a contact sheet."`
	Pack  packCommand  `cmd:"" help:"Decode a set once, into files that all ranks of a node read from the page cache."`
}

type packCommand struct {
	Src            string `arg:"" help:"What to pack: whatever data.path may name."`
	Dst            string `arg:"" help:"Folder for the packed set; it is made. Packing again goes on where an interrupted packing stood."`
	Kind           string `help:"As data.kind." default:"auto"`
	Size           int    `help:"Pixels that the shorter side of a larger image is resized to; 0: images stay as they are." default:"256"`
	Compression    string `help:"raw, the fastest to read, or zstd." default:"raw"`
	Shard          int    `help:"Images of a file." default:"1024"`
	Workers        int    `help:"Goroutines that decode; 0: one a core." default:"0"`
	SkipUnreadable bool   `help:"Leave out images that cannot be read, instead of failing at the end."`
	Quiet          bool   `help:"No progress."`
}

// What one packing may ask for: a goroutine for each core of the largest nodes, and shards whose index is held in memory.
const (
	mostPackers = 1 << 10
	mostInShard = 1 << 20
)

// runPack packs a set. The images that could not be read are listed at the end, and without --skip-unreadable they are an
// error: who trains for a week wants to know what on.
func runPack(p packCommand, stdout, stderr io.Writer) error {
	if err := p.check(); err != nil {
		return err
	}
	c, err := packed.ParseCompression(p.Compression)
	if err != nil {
		return &config.Error{Problem: fmt.Sprintf("--compression must be raw or zstd, not %q", p.Compression), Err: err}
	}
	set, err := data.Open(data.Source{Kind: p.Kind, Path: p.Src, Unread: true}, splitSeed)
	if err != nil {
		return err
	}
	images := set.Train.Len() + set.Test.Len()
	bar := progressbar.DefaultSilent(int64(images))
	if !p.Quiet {
		bar = progressbar.NewOptions(images, progressbar.OptionSetWriter(stderr), progressbar.OptionSetDescription(quote.Text(p.Dst)), progressbar.OptionShowCount(),
			progressbar.OptionShowIts(), progressbar.OptionSetItsString("images"), progressbar.OptionThrottle(200*time.Millisecond), progressbar.OptionFullWidth())
	}
	kept := 0
	bad, err := data.Pack(p.Dst, set, packed.Options{Size: p.Size, Compression: c, Shard: p.Shard, Skip: p.SkipUnreadable, Workers: p.Workers,
		Progress: func(n int, was bool) {
			_ = bar.Add(n) // a bar that cannot be drawn is no reason to stop
			if was {
				kept += n
			}
		}})
	_ = bar.Exit()
	dst := quote.Text(p.Dst)
	switch {
	case errors.Is(err, syscall.ENOTDIR):
		return &config.Error{Problem: fmt.Sprintf("DST is %q, expected a folder, or a name that is not taken (%v)", p.Dst, err), Err: err}
	case err != nil:
		return fmt.Errorf("packing %s: %w", p.Dst, err)
	case len(bad) > 0 && !p.SkipUnreadable:
		return errors.Join(bad, fmt.Errorf("%s is not whole yet: mend or remove these, or leave them out with --skip-unreadable, and pack again; what is done is kept", dst))
	case len(bad) > 0:
		fmt.Fprintf(stderr, "lte: warning: %v; %s is without them\n", bad, dst)
	}
	fmt.Fprintf(stdout, "%s: %d images in %d classes, %d of them packed before; use it with data.path = %q\n", dst, images-len(bad), set.Classes, kept, p.Dst)
	return nil
}

// check returns a usage error of the flags.
func (p packCommand) check() error {
	for _, f := range []struct {
		name           string
		is, from, most int
	}{{"--size", p.Size, 0, limit.Side}, {"--workers", p.Workers, 0, mostPackers}, {"--shard", p.Shard, 1, mostInShard}} {
		if f.is < f.from || f.is > f.most {
			return &config.Error{Problem: fmt.Sprintf("%s must be from %d to %d, not %d", f.name, f.from, f.most, f.is)}
		}
	}
	if src, err := os.Stat(p.Src); err == nil {
		if dst, err := os.Stat(p.Dst); err == nil && os.SameFile(src, dst) {
			return &config.Error{Problem: fmt.Sprintf("SRC and DST are the same, %q: choose another folder for the packed set", p.Dst)}
		}
	}
	return checkKind(p.Kind, p.Src)
}
