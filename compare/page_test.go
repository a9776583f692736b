package compare

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"encoding/xml"
	"errors"
	"html"
	"image/png"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// written writes a page with every part that a page can have, and returns its folder and figures.
func written(t *testing.T) (string, []Figure) {
	t.Helper()
	var runs []Run
	for _, width := range []string{"32", "64"} {
		for seed := 1; seed <= 2; seed++ {
			for method, top1 := range map[string]float64{"full": 0.9, "lte": 0.89, "mhlora": 0.895, "localsgd": 0.9} {
				runs = append(runs, made(method, seed, top1+0.01*float64(seed), "model.width="+width))
			}
		}
	}
	p := Page{Title: "Sweep <of> sizes", Panels: Panels(runs), Missing: []Missing{{"runs/lte-3", "not started; exit code 2"}},
		Tables: []Table{{Title: "Verdicts", Head: []string{"", "found"}, Rows: [][]string{{"1", "a & b"}}}}}
	dir := t.TempDir()
	figures, err := p.Write(dir)
	if err != nil {
		t.Fatal(err)
	}
	return dir, figures
}

// Fails if a file is missing, invalid or partial, or if the page lacks a part or loads another file. TestInABrowser checks the layout.
func TestWrite(t *testing.T) {
	dir, figures := written(t)
	pictures, _ := filepath.Glob(filepath.Join(dir, "*.png"))
	if len(pictures) != 11 { // five a panel, and one over scale
		t.Errorf("pictures: %q", pictures)
	}
	for _, name := range pictures {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if c, err := png.DecodeConfig(f); err != nil || c.Width != int(math.Round(11/2.54*dpi)) {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
		text, err := os.ReadFile(strings.TrimSuffix(name, "png") + "svg")
		if err := errors.Join(err, xml.Unmarshal(text, &struct {
			XMLName xml.Name `xml:"svg"`
		}{})); err != nil {
			t.Errorf("the SVG of %s: %v", name, err)
		}
	}
	for name, want := range map[string]int{"results.csv": 1 + 16, "records.csv": 1 + 4*16} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		rows, err := csv.NewReader(strings.NewReader(string(text))).ReadAll() // as many fields in each
		if err != nil || len(rows) != want {
			t.Errorf("%s: %d rows, want %d; %v", name, len(rows), want, err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*.tmp")); left != nil {
		t.Errorf("left behind: %q", left)
	}
	if len(figures) != len(pictures) || figures[0] != (Figure{"Final test accuracy over scale, digits", "final-scale-digits.svg"}) {
		t.Errorf("figures: %q", figures)
	}
	text, err := os.ReadFile(filepath.Join(dir, PageFile))
	if err != nil {
		t.Fatal(err)
	}
	page := string(text)
	for want, count := range map[string]int{
		"<title>Sweep &lt;of&gt; sizes</title>": 1, "<h1>Sweep &lt;of&gt; sizes</h1>": 1, "<h2>1 run is missing</h2>": 1,
		"<li><b>runs/lte-3</b>: not started; exit code 2</li>": 1, "<figure ": 11, "<svg ": 11, "<h3>Verdicts</h3>": 1, "<td>a &amp; b</td>": 1,
		`<a href="#vit-32x4-2">vit-32x4/2</a>`: 1, `<h2 id="vit-64x4-2">vit-64x4/2</h2>`: 1, "<p>Data: digits. Model: vit-32x4/2. ": 1,
		`<tr><th>vit-32x4/2</th><td class="number">32,000</td><td class="number">91.5 ± 0.7</td><td class="number">90.5 ± 0.7</td>` +
			`<td class="number">91.5 ± 0.7</td><td class="number">91.0 ± 0.7</td></tr>`: 1,
		"<h3>Accuracy</h3>": 2, "<h3>Cost</h3>": 2, "<h3>Measured during training</h3>": 2, "<p>Bytes sent by rank 0 for all purposes;": 2,
		`<figcaption>Alignment of heads</figcaption>`: 2, "stroke:#1A1A1A;stroke-width:1.4": 9, "src=": 0, "url(": 0, "@import": 0, "<script": 0,
	} {
		if got := strings.Count(page, want); got != count {
			t.Errorf("the page has %s %d times, want %d", want, got, count)
		}
	}
	for _, m := range regexp.MustCompile(`href="([^"]*)"`).FindAllStringSubmatch(page, -1) {
		if !strings.HasPrefix(m[1], "#") && m[1] != "data:," {
			t.Errorf("the page asks for %s", m[1])
		}
	}
}

// Fails if the error does not name the file that cannot be written, or if a partial file remains.
func TestWriteFails(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "results.csv", "x"), 0o755); err != nil {
		t.Fatal(err)
	}
	p := Page{Panels: Panels([]Run{made("full", 1, 0.9)})}
	p.Panels[0].Variants[0].Runs[0].Records = nil // nothing to draw
	_, err := p.Write(dir)
	if err == nil || !strings.HasPrefix(err.Error(), "compare: cannot write "+filepath.Join(dir, "results.csv")+": ") {
		t.Error(err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("left: %v", left)
	}
	if _, err := p.Write(filepath.Join(dir, "results.csv", "x\x00")); err == nil || !strings.Contains(err.Error(), "cannot make the folder of the report") {
		t.Error(err)
	}
}

// Fails if the names of curves that end together overlap, or lie outside the figure or over the axis.
func TestNamesAtTheEnds(t *testing.T) {
	var runs []Run
	for _, k := range []string{"1", "2", "3", "4", "5"} {
		runs = append(runs, made("lte", 1, 0.9, "merge.every="+k))
	}
	p := Panels(runs)
	places := regexp.MustCompile(`<text x="[^"]*" y="([^"]*)"[^>]*>(lte K=|images seen)`)
	for _, f := range p[0].figures("")[:5] {
		var at []float64
		axis := 0.0 // from the bottom, as everything in the SVG
		for _, m := range places.FindAllStringSubmatch(f.svg(lineStyles(names(p))), -1) {
			y, _ := strconv.ParseFloat(m[1], 64)
			if y = math.Abs(y); m[2] == "images seen" {
				axis = y
				continue
			}
			if y < axis+22 || y > float64(height.Points())-8 {
				t.Errorf("%s: a name is at %v, the axis at %v", f.Title, y, axis)
			}
			for _, other := range at {
				if math.Abs(y-other) < 9 {
					t.Errorf("%s: a name is written over another", f.Title)
				}
			}
			at = append(at, y)
		}
		if len(at) != 5 {
			t.Errorf("%s: %d names", f.Title, len(at))
		}
	}
}

// probe holds what the browser measures of the page in a frame of some width.
type probe struct {
	Title                    string
	Width, Needed            int // of the frame, and of what is in it
	Figures, Missing, Tables int
	Small                    int      // figures without size, or letters below 7 pixels
	Outside                  []string // letters beyond their figure
	Requests                 int      // of anything beyond the page
	Headings, Numbers        string
}

// The page in Chromium at the width of a desktop and of a phone. Fails if text leaves its figure, the page is wider than the screen or
// loads anything else, or the browser logs an error. `make test-report` installs Chromium.
func TestInABrowser(t *testing.T) {
	browser, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("LTE_CHROMIUM") != "" {
			t.Fatal("LTE_CHROMIUM is set, and there is no chromium")
		}
		t.Skip("no chromium here: `make test-report` installs it and runs this test")
	}
	dir, _ := written(t)
	files := http.FileServer(http.Dir(dir))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/frame" {
			_, _ = w.Write([]byte(strings.ReplaceAll(frame, "WIDTH", r.URL.Query().Get("width"))))
			return
		}
		files.ServeHTTP(w, r)
	}))
	defer server.Close()
	for _, width := range []int{1280, 390} {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
			"--disable-background-networking", "--disable-component-update", "--disable-sync", "--user-data-dir="+t.TempDir(),
			"--enable-logging=stderr", "--window-size=1400,1000", "--virtual-time-budget=5000", "--dump-dom",
			server.URL+"/frame?width="+strconv.Itoa(width))
		var said strings.Builder
		cmd.Stderr = &said
		dom, err := cmd.Output()
		if err != nil {
			t.Fatalf("chromium: %v\n%s", err, said.String())
		}
		if strings.Contains(said.String(), "CONSOLE") {
			t.Errorf("the browser complains:\n%s", said.String())
		}
		_, after, found := strings.Cut(string(dom), "PROBE")
		text, _, _ := strings.Cut(after, "EBORP")
		var got probe
		if err := json.Unmarshal([]byte(html.UnescapeString(text)), &got); !found || err != nil {
			t.Fatalf("%v in\n%s", err, dom)
		}
		if got.Needed > got.Width || got.Width != width || got.Small > 0 || len(got.Outside) > 0 || got.Requests > 0 {
			t.Errorf("on %d pixels: %+v", width, got)
		}
		if got.Title != "Sweep <of> sizes" || got.Figures != 11 || got.Missing != 1 || got.Tables != 8 {
			t.Errorf("on %d pixels: %+v", width, got)
		}
		if want := "vit-32x4/2 vit-64x4/2"; got.Headings != want || got.Numbers != "91.5 ± 0.7" {
			t.Errorf("on %d pixels: sections %q, full's accuracy %q", width, got.Headings, got.Numbers)
		}
	}
}

// frame shows the page in a frame of some width and writes a probe of it.
const frame = `<!doctype html><link rel="icon" href="data:,">
<iframe id="f" src="/report.html" width="WIDTH" height="800" style="border:0"></iframe>
<pre id="out"></pre>
<script>
document.getElementById("f").onload = e => {
  const w = e.target.contentWindow, d = w.document, all = s => [...d.querySelectorAll(s)]
  const figures = all("figure svg"), outside = []
  let small = 0
  for (const svg of figures) {
    const box = svg.getBoundingClientRect()
    if (box.width < 200 || box.height < 100) small++
    for (const t of svg.querySelectorAll("text")) {
      const b = t.getBoundingClientRect()
      if (b.height < 7) small++
      if (b.left < box.left-1 || b.right > box.right+1 || b.top < box.top-1 || b.bottom > box.bottom+1) outside.push(t.textContent)
    }
  }
  const out = {Title: d.title, Width: w.innerWidth, Needed: d.documentElement.scrollWidth, Figures: figures.length, Small: small,
    Outside: outside, Missing: all(".missing li").length, Tables: all("table").length,
    Requests: w.performance.getEntriesByType("resource").length,
    Headings: all("h2[id]").map(h => h.textContent).join(" "), Numbers: d.querySelector("h2[id] ~ .wide td:nth-child(5)").textContent}
  document.getElementById("out").textContent = "PROBE" + JSON.stringify(out) + "EBORP"
}
</script>`
