package report

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"hash/crc32"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"lte/config"
	"lte/internal/file"
	"lte/record"
)

func records() []record.Record {
	first := record.Record{Step: 20, Images: 2560, Seconds: 1.5, TrainLoss: 2.25, LR: 1e-3, ImagesPerSecond: 1706.67, DataWait: 0.25, Merges: 2,
		BytesSent: 1 << 40, Traffic: record.Traffic{Merge: record.Bytes{Sent: 1, Received: 2}, Gradients: record.Bytes{Sent: 3, Received: 4},
			Evaluation: record.Bytes{Sent: 5, Received: 6}, Control: record.Bytes{Sent: 7, Received: 8}}}
	second := first
	second.Step, second.Images = 300, 38400
	second.TestTop1, second.TestLoss = evaluated(0.75, 0.5)
	second.GradientRank, second.UpdateRank = evaluated(7.5, 3)
	second.Alignment, second.Grassmann = evaluated(0.01, 0.9)
	second.GradientNorm, second.UpdateNorm = evaluated(0.5, 2)
	second.WeightNorm, _ = evaluated(16, 0)
	return []record.Record{first, second}
}

// writeRun writes records into a new directory and returns it.
func writeRun(t *testing.T, records ...record.Record) string {
	t.Helper()
	dir := t.TempDir()
	f, err := NewFiles(dir)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range records {
		if err := f.Record(r); err != nil {
			t.Fatal(err)
		}
		// Flushed each: the lines are there before Close.
		if text := read(t, dir, "metrics.jsonl"); strings.Count(text, "\n") != i+1 || !strings.HasSuffix(text, "\n") {
			t.Errorf("after %d records: %q", i+1, text)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := f.Record(record.Record{}); !errors.Is(err, os.ErrClosed) {
		t.Errorf("a record after Close: %v", err)
	}
	return dir
}

func read(t *testing.T, dir, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestMetrics(t *testing.T) {
	want := records()
	dir := writeRun(t, want...)
	lines := strings.Split(strings.TrimSuffix(read(t, dir, "metrics.jsonl"), "\n"), "\n")
	for i, line := range lines {
		var got record.Record
		if err := json.Unmarshal([]byte(line), &got); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want[i]) {
			t.Errorf("\n got %+v\nwant %+v", got, want[i])
		}
	}
	if strings.Contains(lines[0], "test_top1") {
		t.Errorf("a record without evaluation has an accuracy: %s", lines[0])
	}

	f, err := NewFiles(dir) // appends
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Record(want[0]); err != nil {
		t.Fatal(err)
	}
	if text := read(t, dir, "metrics.jsonl"); text != lines[0]+"\n"+lines[1]+"\n"+lines[0]+"\n" {
		t.Errorf("reopened: %s", text)
	}
}

func TestNewFilesErrors(t *testing.T) {
	if _, err := NewFiles(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
}

func TestEvents(t *testing.T) {
	r := records()
	r[0].TrainLoss = math.NaN()
	r[1].MomentsCleared, r[1].AverageTop1, r[1].AverageLoss = 5, new(0.875), new(0.375)
	dir := writeRun(t, r...)
	names, _ := filepath.Glob(filepath.Join(dir, "events.out.tfevents.*"))
	if len(names) != 1 || !regexp.MustCompile(`^events\.out\.tfevents\.\d{10}\..+\.\d+$`).MatchString(filepath.Base(names[0])) {
		t.Fatalf("event files: %q", names)
	}
	file := read(t, dir, filepath.Base(names[0]))

	// The head of every file of TensorFlow's own writer: a length of 24 and its masked checksum.
	if head := "\x18\x00\x00\x00\x00\x00\x00\x00\xa3\x7f\x4b\x22"; !strings.HasPrefix(file, head) {
		t.Errorf("head % x, want % x", file[:len(head)], head)
	}
	events := readEvents(t, []byte(file))
	if len(events) != 3 || events[0].version != "brain.Event:2" {
		t.Fatalf("events: %+v", events)
	}
	for _, e := range events {
		if e.wallTime < 1.7e9 || e.wallTime > 1e10 {
			t.Errorf("wall time %g", e.wallTime)
		}
	}
	if loss := events[1].values["train/loss"]; !math.IsNaN(float64(loss)) {
		t.Errorf("a loss that is no number: %g", loss)
	}
	delete(events[1].values, "train/loss")
	want := map[string]float32{"train/lr": 1e-3, "train/images_per_second": 1706.67, "train/data_wait": 0.25, "train/merges": 2, "train/moments_cleared": 0,
		"traffic/bytes_sent_per_rank": 1 << 40}
	for i, purpose := range []string{"merge", "gradients", "evaluation", "control"} {
		want["traffic/"+purpose+"/sent"], want["traffic/"+purpose+"/received"] = float32(2*i+1), float32(2*i+2)
	}
	if events[1].step != 20 || !reflect.DeepEqual(events[1].values, want) {
		t.Errorf("step %d: %v, want %v", events[1].step, events[1].values, want)
	}
	want["train/loss"], want["test/top1"], want["test/loss"] = 2.25, 0.75, 0.5
	want["train/moments_cleared"], want["test/ema_top1"], want["test/ema_loss"] = 5, 0.875, 0.375
	want["measure/gradient_rank"], want["measure/update_rank"] = 7.5, 3
	want["measure/alignment"], want["measure/grassmann"] = 0.01, 0.9
	want["measure/gradient_norm"], want["measure/update_norm"], want["measure/weight_norm"] = 0.5, 2, 16
	if events[2].step != 300 || !reflect.DeepEqual(events[2].values, want) {
		t.Errorf("step %d: %v, want %v", events[2].step, events[2].values, want)
	}
}

// TensorBoard drops the events of older files from the step of a SessionLog.START on (event_accumulator.py, _Purge): step 301 of a run
// that resumes after step 300.
func TestEventsOfAResumedRun(t *testing.T) {
	dir := t.TempDir()
	f, err := NewFiles(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Resumed(300), f.Record(records()[1]), f.Sync(), f.Close()); err != nil {
		t.Fatal(err)
	}
	names, _ := filepath.Glob(filepath.Join(dir, "events.out.tfevents.*"))
	events := readEvents(t, []byte(read(t, dir, filepath.Base(names[0]))))
	if len(events) != 3 || events[1].session != 1 || events[1].step != 301 || len(events[1].values) != 0 || events[2].session != 0 {
		t.Errorf("%+v", events)
	}
	if err := f.Sync(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Sync after Close: %v", err)
	}
	if err := f.Resumed(1); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Resumed after Close: %v", err)
	}
}

// Fails if a failed write is no error, or an error of another file.
func TestRecordErrors(t *testing.T) {
	for _, c := range []struct {
		close func(f *Files) error
		want  string
	}{
		{func(f *Files) error { return f.metrics.Close() }, "metrics of step 300"},
		{func(f *Files) error { return f.events.close() }, "TensorBoard event of step 300"},
	} {
		f, err := NewFiles(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		if err := c.close(f); err != nil {
			t.Fatal(err)
		}
		if err := f.Record(records()[1]); !errors.Is(err, os.ErrClosed) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want one of the %s", err, c.want)
		}
		f.Close()
	}
}

type event struct {
	wallTime float64
	step     uint64
	version  string
	session  uint64 // its status; 1 is START
	values   map[string]float32
}

// readEvents is a reader of event files that shares no code with the writer.
func readEvents(t *testing.T, file []byte) []event {
	t.Helper()
	unmask := func(b []byte) uint32 {
		x := binary.LittleEndian.Uint32(b) - 0xa282ead8
		return x>>17 | x<<15
	}
	sum := func(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }
	var events []event
	for len(file) > 0 {
		n := binary.LittleEndian.Uint64(file)
		data := file[12 : 12+n]
		if unmask(file[8:]) != sum(file[:8]) || unmask(file[12+n:]) != sum(data) {
			t.Fatal("wrong checksum")
		}
		file = file[16+n:]
		e := event{values: map[string]float32{}}
		message(t, data, func(field, number uint64, bytes []byte) {
			switch field {
			case 1:
				e.wallTime = math.Float64frombits(number)
			case 2:
				e.step = number
			case 3:
				e.version = string(bytes)
			case 7:
				message(t, bytes, func(field, number uint64, _ []byte) {
					if field == 1 {
						e.session = number
					}
				})
			case 5:
				message(t, bytes, func(_, _ uint64, value []byte) {
					var tag string
					message(t, value, func(field, number uint64, bytes []byte) {
						if field == 1 {
							tag = string(bytes)
						} else {
							e.values[tag] = math.Float32frombits(uint32(number))
						}
					})
				})
			}
		})
		events = append(events, e)
	}
	return events
}

// message calls each with every field of a protobuf message, by wire type.
func message(t *testing.T, b []byte, each func(field, number uint64, bytes []byte)) {
	t.Helper()
	varint := func() uint64 {
		x, n := binary.Uvarint(b)
		if n <= 0 {
			t.Fatalf("no varint at % x", b)
		}
		b = b[n:]
		return x
	}
	take := func(n uint64) (taken []byte) {
		if n > uint64(len(b)) {
			t.Fatalf("%d bytes are wanted, %d are left", n, len(b))
		}
		taken, b = b[:n], b[n:]
		return taken
	}
	for len(b) > 0 {
		key := varint()
		switch field := key >> 3; key & 7 {
		case 0:
			each(field, varint(), nil)
		case 1:
			each(field, binary.LittleEndian.Uint64(take(8)), nil)
		case 2:
			each(field, 0, take(varint()))
		case 5:
			each(field, uint64(binary.LittleEndian.Uint32(take(4))), nil)
		default:
			t.Fatalf("wire type %d", key&7)
		}
	}
}

// Fails if the target of a symbolic link is changed.
func TestOwnFilesFollowNoLink(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "precious")
	must(t, os.WriteFile(outside, []byte("kept\n"), 0o644))
	c := config.Default()
	c.Run.Dir = t.TempDir()
	must(t, os.Symlink(outside, filepath.Join(c.Run.Dir, record.MetricsFile)))
	if f, err := NewFiles(c.Run.Dir); !errors.Is(err, file.ErrNotRegular) {
		t.Errorf("%v, %v", f, err)
	}
	if _, err := ResumeRunDir(c, 0); !errors.Is(err, file.ErrNotRegular) {
		t.Errorf("resumed: %v", err)
	}
	must(t, os.Symlink(outside, filepath.Join(c.Run.Dir, record.SummaryFile)))
	must(t, record.WriteSummary(c.Run.Dir, record.Summary{}))
	now := time.Unix(1, 0)
	e, err := newEventFile(c.Run.Dir, now)
	must(t, err)
	must(t, errors.Join(e.close(), os.Remove(e.f.Name()), os.Symlink(outside, e.f.Name())))
	if _, err := newEventFile(c.Run.Dir, now); !errors.Is(err, file.ErrNotRegular) {
		t.Errorf("events: %v", err)
	}
	if got, _ := os.ReadFile(outside); string(got) != "kept\n" {
		t.Errorf("outside: %q", got)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
