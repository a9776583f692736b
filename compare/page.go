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

// Page is the report of a comparison.
type Page struct {
	Title   string
	Tables  []Table // shown first
	Missing []Missing
	Panels  []Panel
}

// PageFile is the name of the HTML file that Write writes.
const PageFile = "report.html"

//go:embed page.html
var pageText string

var page = template.Must(template.New("page").Funcs(template.FuncMap{"text": quote.Text}).Parse(pageText))

// embedded is a figure of the HTML page.
type embedded struct {
	Title string
	SVG   template.HTML
}

// section is a panel of the HTML page.
type section struct {
	Name, Setup string
	Anchor      string
	Tables      []Table
	Figures     []embedded
}

// Write writes into the folder: the page, which needs no other file; every figure as SVG and PNG; results.csv with a row per run;
// and records.csv with a row per record. It returns the figures in order.
func (p Page) Write(dir string) (figures []Figure, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, &config.Error{Where: dir, Err: err, Problem: fmt.Sprintf("cannot make the folder of the report: %v; choose another --out", err)}
	}
	write := func(name string, text func(io.Writer) error) { // keeps the first error
		if err != nil {
			return
		}
		if err = file.Write(filepath.Join(dir, name), text); err != nil {
			err = fmt.Errorf("compare: cannot write %s: %w", filepath.Join(dir, name), err)
		}
	}
	styles, files, anchors := lineStyles(names(p.Panels)), uniqueNames{}, uniqueNames{}
	show := func(all []figure) (shown []embedded) {
		for _, f := range drawable(all) {
			f.file = files.take(f.file)
			text := f.svg(styles)
			shown = append(shown, embedded{f.Title, template.HTML(text)})
			figures = append(figures, Figure{f.Title, f.file + ".svg"})
			write(f.file+".svg", func(w io.Writer) error {
				_, err := io.WriteString(w, `<?xml version="1.0"?>`+"\n"+text)
				return err
			})
			write(f.file+".png", func(w io.Writer) error { return f.png(w, styles) })
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
		sections = append(sections, section{name, panel.Setup(), anchors.take(fileName(name)), panel.Tables(), show(panel.figures(prefix))})
	}
	write("results.csv", func(w io.Writer) error { return writeResults(w, p.Panels) })
	write("records.csv", func(w io.Writer) error { return writeRecords(w, p.Panels) })
	write(PageFile, func(w io.Writer) error {
		return page.Execute(w, map[string]any{"Title": p.Title, "Missing": p.Missing, "First": first, "Sections": sections, "Several": len(sections) > 1})
	})
	return figures, err
}

// Figure is a figure that was written to an SVG file.
type Figure struct{ Title, File string }
