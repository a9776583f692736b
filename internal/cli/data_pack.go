package cli

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"lte/config"
	"lte/data"
	"lte/data/limit"
	"lte/data/packed"
	"lte/internal/quote"
	"lte/internal/session"

	"github.com/schollz/progressbar/v3"
)

// packCommand is lte data pack.
type packCommand struct {
	Src            string `arg:"" help:"What to pack: whatever data.path may name."`
	Dst            string `arg:"" help:"Folder for the packed set; it is made. Packing again continues an interrupted packing."`
	Kind           string `help:"As data.kind." default:"auto"`
	Size           int    `help:"Pixels that the shorter side of a larger image is resized to; 0: images stay as they are." default:"256"`
	Compression    string `help:"raw, the fastest to read, or zstd." default:"raw"`
	Shard          int    `help:"Images per file." default:"1024"`
	Workers        int    `help:"Goroutines that decode; 0: one per core." default:"0"`
	SkipUnreadable bool   `help:"Leave out images that cannot be read, instead of failing at the end."`
	Quiet          bool   `help:"No progress."`
}

// Largest values of flags: a goroutine for each core of the largest nodes, and shards whose index fits into memory.
const (
	maxPackers = 1 << 10
	maxInShard = 1 << 20
)

// Run packs a set. Images that cannot be read are listed at the end; without --skip-unreadable they are an error.
func (p packCommand) Run(in *process) error {
	if err := p.check(); err != nil {
		return err
	}
	c, err := packed.ParseCompression(p.Compression)
	if err != nil {
		return &config.Error{Problem: fmt.Sprintf("--compression must be raw or zstd, not %q", p.Compression), Err: err}
	}
	set, err := data.Open(data.Source{Kind: p.Kind, Path: p.Src, Unread: true}, session.SplitSeed)
	if err != nil {
		return err
	}
	images := set.Train.Len() + set.Test.Len()
	bar := progressbar.DefaultSilent(int64(images))
	if !p.Quiet {
		bar = progressbar.NewOptions(images, progressbar.OptionSetWriter(in.stderr), progressbar.OptionSetDescription(quote.Text(p.Dst)), progressbar.OptionShowCount(),
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
		return errors.Join(bad, fmt.Errorf("%s is not complete: repair or remove these images, or leave them out with --skip-unreadable, and pack again; what is packed is kept", dst))
	case len(bad) > 0:
		fmt.Fprintf(in.stderr, "lte: warning: %v; %s does not contain them\n", bad, dst)
	}
	fmt.Fprintf(in.stdout, "%s: %d images in %d classes, %d of them packed before; use it with data.path = %q\n", dst, images-len(bad), set.Classes, kept, p.Dst)
	return nil
}

// check returns a usage error of the flags.
func (p packCommand) check() error {
	for _, f := range []struct {
		name           string
		is, from, most int
	}{{"--size", p.Size, 0, limit.Side}, {"--workers", p.Workers, 0, maxPackers}, {"--shard", p.Shard, 1, maxInShard}} {
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
