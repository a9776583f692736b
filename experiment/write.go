package experiment

import (
	"fmt"
	"path/filepath"
	"strings"
	"text/template"

	"lte/compare"
	"lte/internal/file"
)

// Write judges the observations and writes observations.md and the report of compare.Page into the folder.
func Write(dir string, results []Result, testImages int) ([]Verdict, error) {
	all := Variants(results)
	verdicts := Judge(all, testImages)
	p := compare.Page{Title: "The five observations", Tables: []compare.Table{tabulate(verdicts)}}
	setup := "No run is finished."
	var tables []compare.Table
	if all != nil {
		panel := compare.Panel{Dataset: all[0].Runs[0].Summary.Dataset, Model: all[0].Runs[0].Summary.Model, Variants: all}
		p.Panels = []compare.Panel{panel}
		setup, tables = panel.Setup(), panel.Tables()
	}
	figures, err := p.Write(dir)
	if err != nil {
		return nil, err
	}
	var text strings.Builder
	if err := page.Execute(&text, map[string]any{"Verdicts": verdicts, "Setup": setup, "TestImages": testImages, "Tables": tables, "Figures": figures}); err != nil {
		return nil, fmt.Errorf("experiment: writing observations.md: %w", err)
	}
	if err := file.WriteBytes(filepath.Join(dir, "observations.md"), []byte(text.String())); err != nil {
		return nil, fmt.Errorf("experiment: cannot write observations.md: %w", err)
	}
	return verdicts, nil
}

// literal escapes text for Markdown.
var literal = strings.NewReplacer("\\", "\\\\", "`", "\\`", "*", "\\*", "_", "\\_", "[", "\\[", "]", "\\]", "<", "\\<", "&", "\\&", "|", "\\|").Replace

// tabulate returns the verdicts as a table of the HTML page, without Markdown's backquotes.
func tabulate(verdicts []Verdict) compare.Table {
	t := compare.Table{Title: "Verdicts", Head: []string{"", "observation", "verdict", "found", "criterion"}}
	plain := strings.NewReplacer("`", "").Replace
	for _, v := range verdicts {
		t.Rows = append(t.Rows, []string{v.Observation, plain(v.Claim), string(v.Outcome), plain(v.Found), plain(v.Criterion)})
	}
	return t
}

var page = template.Must(template.New("observations").Funcs(template.FuncMap{"literal": literal}).Parse(`# The five observations

{{literal .Setup}} {{.TestImages}} test images.

| | observation | verdict | found | criterion |
| --- | --- | --- | --- | --- |
{{range .Verdicts}}| {{.Observation}} | {{.Claim}} | **{{.Outcome}}** | {{.Found}} | {{.Criterion}} |
{{end}}{{range .Tables}}
## {{.Title}}

{{.Note}}

{{.Markdown}}{{end}}{{range .Figures}}
![{{.Title}}]({{.File}})
{{end}}`))
