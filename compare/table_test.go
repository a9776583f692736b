package compare

import (
	"math"
	"slices"
	"strings"
	"testing"
)

// Numbers computed by hand. lte ends 9 points below full, which reached that after 900 images. The seeds of localsgd reached full's 90 %
// after 957.4 and 937.5 images, 947 on average. Of the three runs of diloco, two of one seed, one reached it at its first evaluation and
// two never did. full reached the accuracy of mhlora at its first evaluation.
func TestTables(t *testing.T) {
	lte := made("lte", 1, 0.81, "optimizer.lr=0.002")
	lte.Summary.BytesSentPerRank, lte.Summary.Images = 1e6, 1350
	early := made("diloco", 2, 0.6)
	*early.Records[0].TestTop1 = 0.95
	mhlora := made("mhlora", 1, 0.2)
	mhlora.Summary.PeakMemory, mhlora.Summary.TestLoss = 0, math.NaN()
	for i := range mhlora.Records {
		mhlora.Records[i].GradientRank = nil
	}
	p := Panels([]Run{made("full", 1, 0.9), lte, made("localsgd", 1, 0.94), made("localsgd", 2, 0.96), made("diloco", 1, 0.5), early, made("diloco", 1, 0.7), mhlora})[0]
	tables := p.Tables()
	want := map[string][][]string{
		"Accuracy": {
			{"full", "1", "0.0005", "1,000", "90.0", "-", "0.250", "-", "-"},
			{"lte", "1", "0.002", "1,350", "81.0", "−9.0", "0.250", "not reached", "900 (+50 %)"},
			{"diloco", "2", "0.0005", "1,000", "60.0 ± 10.0", "−30.0", "0.250 ± 0.000", "250 (−75 %), 1 of 3 runs", "667 (+50 %)"},
			{"localsgd", "2", "0.0005", "1,000", "95.0 ± 1.4", "+5.0", "0.250 ± 0.000", "947 (−5 %)", "-"},
			{"mhlora", "1", "0.0005", "1,000", "20.0", "−70.0", "-", "not reached", "250 (+300 %)"}},
		"Cost": {
			{"full", "8.0s", "125", "4 MB", "-", "50 MB"},
			{"lte", "8.0s", "125", "1 MB", "25 %", "50 MB"},
			{"diloco", "8.0s ± 0.0s", "125 ± 0", "4 MB", "100 %", "50 MB ± 0 B"},
			{"localsgd", "8.0s ± 0.0s", "125 ± 0", "4 MB", "100 %", "50 MB ± 0 B"},
			{"mhlora", "8.0s", "125", "4 MB", "100 %", "-"}},
		"Measured during training": {
			{"full", "10.0 → 20.0", "7.0", "-", "-"},
			{"lte", "10.0 → 20.0", "7.0", "0.030", "0.80"},
			{"diloco", "10.0 ± 0.0 → 20.0 ± 0.0", "7.0 ± 0.0", "-", "-"},
			{"localsgd", "10.0 ± 0.0 → 20.0 ± 0.0", "7.0 ± 0.0", "-", "-"}},
	}
	for _, table := range tables {
		if len(table.Rows) != len(want[table.Title]) {
			t.Fatalf("%s: %d rows", table.Title, len(table.Rows))
		}
		for i, row := range table.Rows {
			if len(row) != len(table.Head) || !slices.Equal(row, want[table.Title][i]) {
				t.Errorf("%s:\n got %q\nwant %q", table.Title, row, want[table.Title][i])
			}
		}
	}
	if len(tables) != len(want) {
		t.Errorf("%d tables", len(tables))
	}
	if head := strings.Join(tables[0].Head, "|"); head != "run|seeds|learning rate|images|top-1, %|gap to full|test loss|images to reach full|images of full" {
		t.Error(head)
	}
	if note := tables[0].Note; !strings.HasPrefix(note, "Top-1 of the final merged weights on the test split, ± the standard deviation over seeds; gap to full in points. ") {
		t.Error(note)
	}
	if text := tables[1].Markdown(); !strings.HasPrefix(text, "| run | time | images/s | sent per rank | relative to full | peak memory |\n"+
		"| --- | --- | --- | --- | --- | --- |\n| `full` | 8.0s | 125 | 4 MB | - | 50 MB |\n| `lte` | 8.0s |") {
		t.Error(text)
	}
	if numbers := tables[0].Numbers(); !slices.Equal(numbers, []bool{false, true, true, true, true, true, true, false, true}) {
		t.Errorf("columns of numbers: %v", numbers)
	}
}

// Fails if a panel without full or without measurements, or whose full sent nothing, has numbers that depend on them, or if a
// description is lost.
func TestTablesWithoutBaseline(t *testing.T) {
	alone := made("lte", 1, 0.8, "lora.heads=4", "lora.rank=8", "merge.every=5")
	alone.Records = nil
	p := Panel{Variants: []Variant{{Name: "lte", Runs: []Run{alone}, About: "{N} heads of rank {r}, merged every {K} steps"}}}
	tables := p.Tables()
	if row := tables[0].Rows[0]; len(tables) != 2 || !slices.Equal(row, []string{"lte", "4 heads of rank 8, merged every 5 steps", "1", "0.0005", "1,000", "80.0", "-", "0.250", "-", "-"}) {
		t.Errorf("%d tables, %q", len(tables), row)
	}
	if row := tables[1].Rows[0]; !slices.Equal(row, []string{"lte", "8.0s", "125", "4 MB", "-", "50 MB"}) {
		t.Errorf("%q", row)
	}
	if note := tables[0].Note; strings.Contains(note, "±") {
		t.Error(note)
	}
	silent := made("full", 1, 0.9)
	silent.Summary.BytesSentPerRank = 0
	if row := Panels([]Run{silent, made("lte", 1, 0.8)})[0].Tables()[1].Rows[1]; row[4] != none {
		t.Errorf("%q of nothing", row[4])
	}
}

// Fails if an accuracy is in the wrong row or column, or where there is none.
func TestOverview(t *testing.T) {
	other := made("full", 1, 0.5)
	other.Summary.Dataset = "cifar"
	panels := Panels([]Run{made("full", 1, 0.7), made("full", 2, 0.9), made("lte", 1, 0.6), other, made("lte", 1, 0.4, "model.width=32")})
	got := overview(panels)
	want := Table{Title: "Final accuracy", Note: "Top-1 on the test split, %, ± the standard deviation over seeds.",
		Head: []string{"data, model", "parameters", "full", "lte"},
		Rows: [][]string{
			{"cifar, vit-64x4/2", "64,000", "50.0", "-"},
			{"digits, vit-32x4/2", "32,000", "-", "40.0"},
			{"digits, vit-64x4/2", "64,000", "80.0 ± 14.1", "60.0"}}}
	if len(got) != 1 || got[0].Title != want.Title || got[0].Note != want.Note || !slices.Equal(got[0].Head, want.Head) || !slices.EqualFunc(got[0].Rows, want.Rows, slices.Equal) {
		t.Errorf("\n got %q\nwant %q", got, want)
	}
	if got := overview(panels[:1]); got != nil {
		t.Errorf("of one panel: %q", got)
	}
	if got := overview(panels[1:])[0].Rows[0][0]; got != "vit-32x4/2" {
		t.Errorf("of one data set: %q", got)
	}
}

// Fails if a common setting is missing, or a setting that differs is named.
func TestSetup(t *testing.T) {
	panels := Panels([]Run{made("full", 1, 0.9), made("lte", 1, 0.8)})
	const want = "Data: digits. Model: vit-64x4/2. Parameters: 64,000. Ranks: 2. Images per step: 25, over all ranks and heads. " +
		"Schedule: cosine. Warm-up: 15 steps. Optimizer: adamw. Weight decay: 0.01. Precision: f32."
	if got := panels[0].Setup(); got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
	last := &panels[0].Variants[1].Runs[0]
	last.Summary.Ranks, last.Summary.Images, last.Config.Optimizer.WeightDecay = 4, 4000, 0.5
	if got, want := panels[0].Setup(), strings.NewReplacer("Ranks: 2. Images per step: 25, over all ranks and heads. ", "", "Weight decay: 0.01. ", "").Replace(want); got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
}

func TestFormats(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{si(0), "0"}, {si(999), "999"}, {si(1500), "1.5k"}, {si(38.4e6), "38.4M"},
		{bytes(0), "0 B"}, {bytes(999), "999 B"}, {bytes(58_982_400), "59 MB"}, {bytes(2.2e9), "2.2 GB"},
		{percent(0.125), "12.5 %"}, {percent(1), "100 %"}, {plain(0.00012345), "0.0001234"}, {plain(12), "12"},
		{digits(1)(-0.25), "−0.2"}, {digits(3)(2), "2.000"}, {points(0.98765), "98.8"},
		{whole(1234567.5), "1,234,568"}, {whole(-1234), "-1,234"},
		{clock(0.25), "0.2s"}, {clock(9.96), "10.0s"}, {clock(59.6), "1m0s"}, {clock(3661), "1h1m1s"},
		{signed(digits(0))(3), "+3"}, {signed(digits(0))(-3), "−3"}, {more(140, 100), " (+40 %)"},
	} {
		if c.got != c.want {
			t.Errorf("got %s, want %s", c.got, c.want)
		}
	}
}
