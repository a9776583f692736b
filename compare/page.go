package compare

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"os"
	"path/filepath"

	"lte/config"
	"lte/internal/file"
	"lte/internal/quote"
)

// Page is what is shown of a comparison.
type Page struct {
	Title   string
	Tables  []Table // before all others
	Missing []Missing
	Panels  []Panel
}

// PageFile is the name of the page in the folder that Write writes.
const PageFile = "report.html"

//go:embed page.html
var pageText string

var page = template.Must(template.New("page").Funcs(template.FuncMap{"text": quote.Text}).Parse(pageText))

// drawn is a figure as the page shows it.
type drawn struct {
	Title string
	File  string // of the SVG
	SVG   template.HTML
}

// section is a panel as the page shows it.
type section struct {
	Name, Setup string
	Anchor      string
	Tables      []Table
	Figures     []drawn
}

// Write writes into the folder: the page, which needs no other file; every figure as SVG and PNG; results.csv with a row a
// run, and records.csv with a row a record. It returns the figures' SVG files by their titles, in order.
func (p Page) Write(dir string) (figures []Figure, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, &config.Error{Where: dir, Err: err, Problem: fmt.Sprintf("cannot make the folder of the report: %v; choose another --out", err)}
	}
	looks, files, anchors := looks(names(p.Panels)), distinct{}, distinct{}
	show := func(all []figure) (shown []drawn) {
		for _, f := range drawable(all) {
			f.file = files.name(f.file)
			text := f.svg(looks)
			shown = append(shown, drawn{f.Title, f.file + ".svg", template.HTML(text)})
			figures = append(figures, Figure{f.Title, f.file + ".svg"})
			write(&err, filepath.Join(dir, f.file+".svg"), func(w io.Writer) error {
				_, err := io.WriteString(w, `<?xml version="1.0"?>`+"\n"+text)
				return err
			})
			write(&err, filepath.Join(dir, f.file+".png"), func(w io.Writer) error { return f.png(w, looks) })
		}
		return shown
	}
	first := section{Tables: append(p.Tables, overview(p.Panels)...), Figures: show(scales(p.Panels))}
	var sections []section
	for _, panel := range p.Panels {
		name, prefix := panel.name(p.Panels), ""
		if len(p.Panels) > 1 {
			prefix = fileName(name) + "-"
		}
		sections = append(sections, section{name, panel.Setup(), anchors.name(fileName(name)), panel.Tables(), show(panel.figures(prefix))})
	}
	write(&err, filepath.Join(dir, "results.csv"), func(w io.Writer) error { return writeResults(w, p.Panels) })
	write(&err, filepath.Join(dir, "records.csv"), func(w io.Writer) error { return writeRecords(w, p.Panels) })
	write(&err, filepath.Join(dir, PageFile), func(w io.Writer) error {
		return page.Execute(w, map[string]any{"Title": p.Title, "Missing": p.Missing, "First": first, "Sections": sections, "Several": len(sections) > 1})
	})
	return figures, err
}

// Figure names a figure that was written.
type Figure struct{ Title, File string }

// write writes a file complete or not at all, and keeps the first error of several.
func write(first *error, path string, text func(io.Writer) error) {
	if *first != nil {
		return
	}
	if err := file.Write(path, text); err != nil {
		*first = fmt.Errorf("compare: cannot write %s: %w", path, err)
	}
}
