package main

import (
	"fmt"
	"io"
	"time"

	"lte/config"
	"lte/data"
	"lte/data/packed"

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

// runPack packs a set. The images that could not be read are listed at the end, and without --skip-unreadable they are an
// error: who trains for a week wants to know what on.
func runPack(p packCommand, stdout, stderr io.Writer) error {
	c, err := packed.ParseCompression(p.Compression)
	switch {
	case err != nil:
		return &config.Error{Problem: "--compression: " + err.Error()}
	case p.Size < 0 || p.Workers < 0 || p.Shard < 1:
		return &config.Error{Problem: fmt.Sprintf("--size %d, --workers %d and --shard %d must be at least 0, 0 and 1", p.Size, p.Workers, p.Shard)}
	}
	set, err := data.Open(data.Source{Kind: p.Kind, Path: p.Src, Unread: true}, splitSeed)
	if err != nil {
		return err
	}
	images := set.Train.Len() + set.Test.Len()
	bar := progressbar.DefaultSilent(int64(images))
	if !p.Quiet {
		bar = progressbar.NewOptions(images, progressbar.OptionSetWriter(stderr), progressbar.OptionSetDescription(p.Dst), progressbar.OptionShowCount(),
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
	switch {
	case err != nil:
		return fmt.Errorf("packing %s: %w", p.Dst, err)
	case len(bad) > 0 && !p.SkipUnreadable:
		return fmt.Errorf("%w\n%s is not whole yet: mend or remove these, or leave them out with --skip-unreadable, and pack again; what is done is kept", bad, p.Dst)
	case len(bad) > 0:
		fmt.Fprintf(stderr, "lte: warning: %v; %s is without them\n", bad, p.Dst)
	}
	fmt.Fprintf(stdout, "%s: %d images in %d classes, %d of them packed before; use it with data.path = %q\n", p.Dst, images-len(bad), set.Classes, kept, p.Dst)
	return nil
}
