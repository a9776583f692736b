package record

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// content is the text of the summary.
func content(t *testing.T, dir string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, SummaryFile))
	must(t, err)
	return string(text)
}

// Fails if the text of finite numbers is not that of encoding/json.
func TestMarshalEqualsEncodingJSON(t *testing.T) {
	summary := Summary{Method: `a"b`, Model: "vit<é>", LoRAAlpha: 1e-9, TestTop1: 0.1, Seed: math.MaxUint64, Images: -1}
	full := Record{Step: 300, Images: 38400, Seconds: 1.5, TrainLoss: 2.25, LR: 1e-3, ImagesPerSecond: 1706.67, DataWait: 0.25, Merges: 2, BytesSent: 1 << 40,
		Traffic: Traffic{Merge: Bytes{1, 2}, Gradients: Bytes{3, 4}, Evaluation: Bytes{5, 6}, Control: Bytes{7, 8}}, TestTop1: new(0.75), TestLoss: new(0.5),
		GradientRank: new(7.5), UpdateRank: new(3.0), Alignment: new(0.01), Grassmann: new(0.9), GradientNorm: new(0.5), UpdateNorm: new(2.0), WeightNorm: new(16.0)}
	type plainRecord Record
	type plainSummary Summary
	for v, plain := range map[any]any{&Record{}: plainRecord{}, &full: plainRecord(full), &Summary{}: plainSummary{}, &summary: plainSummary(summary)} {
		got, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		want, err := json.Marshal(plain)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != string(want) {
			t.Errorf("\n got %s\nwant %s", got, want)
		}
	}
}

const none = `{"sent":0,"received":0}`

const traffic = `"traffic":{"merge":` + none + `,"gradients":` + none + `,"evaluation":` + none + `,"control":` + none + `}`

func TestNotFiniteIsNull(t *testing.T) {
	r := Record{Step: 1, TrainLoss: math.NaN(), LR: math.Inf(1)}
	r.TestTop1, r.TestLoss = new(0.0), new(math.Inf(-1))
	want := `{"step":1,"images":0,"seconds":0,"train_loss":null,"lr":null,"images_per_second":0,"data_wait":0,"merges":0,` +
		`"bytes_sent_per_rank":0,` + traffic + `,"moments_cleared":0,"test_top1":0,"test_loss":null}`
	if got, err := json.Marshal(r); err != nil || string(got) != want {
		t.Errorf("\n got %s, %v\nwant %s", got, err, want)
	}
	dir := t.TempDir()
	if err := WriteSummary(dir, Summary{TrainLoss: math.NaN()}); err != nil {
		t.Fatal(err)
	}
	if text := content(t, dir); !strings.Contains(text, `"train_loss": null`) || !json.Valid([]byte(text)) {
		t.Error(text)
	}
}

func TestWriteSummary(t *testing.T) {
	dir := t.TempDir()
	for _, want := range []Summary{{Method: "lte", Steps: 3, Seconds: 0.1}, {Method: "full"}} { // the second replaces
		if err := WriteSummary(dir, want); err != nil {
			t.Fatal(err)
		}
		text := content(t, dir)
		type plain Summary // decoded by encoding/json
		var got plain
		if err := json.Unmarshal([]byte(text), &got); err != nil || !reflect.DeepEqual(Summary(got), want) {
			t.Errorf("got %+v, %v; want %+v", got, err, want)
		}
		if !strings.HasPrefix(text, "{\n  \"method\": ") || !strings.HasSuffix(text, "}\n") {
			t.Errorf("not indented: %s", text)
		}
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("left behind: %v", entries)
	}

	// A summary that cannot be renamed leaves nothing.
	blocked := t.TempDir()
	if err := os.MkdirAll(filepath.Join(blocked, "summary.json", "x"), 0o755); err != nil {
		t.Fatal(err)
	}
	if WriteSummary(blocked, Summary{}) == nil {
		t.Error("no error where summary.json is a folder")
	}
	if entries, _ := os.ReadDir(blocked); len(entries) != 1 {
		t.Errorf("left behind: %v", entries)
	}
	if WriteSummary(filepath.Join(blocked, "none"), Summary{}) == nil {
		t.Error("no error where there is no directory")
	}
}
