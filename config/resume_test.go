package config

import (
	"os"
	"path"
	"regexp"
	"strings"
	"testing"
)

// Fails if a key that differs is not reported, or a change that is not allowed is accepted.
func TestContradictions(t *testing.T) {
	was, now := Default(), Default()
	if all := now.Changes(was); all != nil || Contradictions("here", all) != nil {
		t.Errorf("nothing is changed: %v", all)
	}
	now.Train.Steps, now.LoRA.Rank, now.Data.Mixup, now.Replicas.Train = 5, 3, 0.5, []string{"*bias"}
	all := now.Changes(was)
	if len(all) != 4 {
		t.Errorf("%v", all)
	}
	err := Contradictions("here", all)
	want := `here: cannot resume the run with other values of these keys: data.mixup = 0.5, not 0.0; lora.rank = 3, not 32; replicas.train = ["*bias"], not []; leave them`
	if err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("%v, want %s", err, want)
	}
}

// Fails if Read does not read what Write wrote.
func TestReadsWhatIsWritten(t *testing.T) {
	c := Default()
	c.Merge.Schedule, c.Checkpoint.Signals = []Interval{{Until: 3, Every: 1}}, []string{"INT"}
	var text strings.Builder
	if err := c.Write(&text); err != nil {
		t.Fatal(err)
	}
	got, err := Read("text", text.String())
	if err != nil || got.Changes(c) != nil {
		t.Errorf("%v %v", err, got.Changes(c))
	}
}

// docs/checkpointing.md lists the keys that may change when a run is resumed, and no others.
func TestDocsListWhatMayChange(t *testing.T) {
	text, err := os.ReadFile("../docs/checkpointing.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), "| keys | note |")
	table, _, _ = strings.Cut(table, "\n\n")
	var listed []string
	for _, row := range strings.Split(table, "\n") {
		cells := strings.Split(row, "|")
		if len(cells) > 1 {
			for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cells[1], -1) {
				listed = append(listed, m[1])
			}
		}
	}
	for _, k := range Keys() {
		found := false
		for _, pattern := range listed {
			if ok, _ := path.Match(pattern, k.Name); ok {
				found = true
			}
		}
		if found != k.Resume {
			t.Errorf("%s: listed %t, may change %t", k.Name, found, k.Resume)
		}
	}
}
