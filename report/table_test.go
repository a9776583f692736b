package report

import (
	"bytes"
	"math"
	"testing"

	"github.com/dustin/go-humanize"

	"lte/record"
)

const wantLTE = `method              lte, 4 × LoRA of rank 16, alpha 32
model               vit-64x4/2, 205,322 parameters, 49,152 trained on each rank
data                digits
ranks               4
test top-1          97.2 % (loss 0.1235)
images/s            5,432 over 1,000 steps in 24s
merges              100, one every 10 steps
sent                59.0 MB by each rank (decimal units: 1 MB = 1,000,000 bytes)
gradient averaging  1.2 GB by each rank over the same steps, 20.9 × what was sent
run directory       runs/lte-digits
`

const wantAlone = `method              full
model               vit-b/16, 86,567,656 parameters, 86,567,656 trained on each rank
data                digits
ranks               1
test top-1          - (loss NaN)
images/s            12.3 over 1 steps in 1h1m1s, 10.0 % of it waiting for data
merges              0
sent                0 B by each rank (decimal units: 1 MB = 1,000,000 bytes)
gradient averaging  0 B by each rank over the same steps
run directory       x
`

func TestTable(t *testing.T) {
	var out bytes.Buffer
	Table(&out, record.Summary{Method: "lte", Model: "vit-64x4/2", Dataset: "digits", Ranks: 4, Heads: 4, LoRARank: 16,
		LoRAAlpha: 32, MergeEvery: 10, Steps: 1000, Merges: 100, Seconds: 23.6, DataWait: 0.2, ImagesPerSecond: 5432.1, TestTop1: 0.9722,
		TestLoss: 0.12345, BytesSentPerRank: 58_982_400, DDPBytesPerRank: 1_231_932_000, Parameters: 205_322,
		Trained: 49_152}, "runs/lte-digits")
	if out.String() != wantLTE {
		t.Errorf("\ngot\n%swant\n%s", out.String(), wantLTE)
	}
	out.Reset()
	Table(&out, record.Summary{Method: "full", Model: "vit-b/16", Dataset: "digits", Ranks: 1, MergeEvery: 10, Steps: 1,
		Seconds: 3661, DataWait: 366.1, ImagesPerSecond: 12.34, TestTop1: math.NaN(), TestLoss: math.NaN(), Parameters: 86_567_656,
		Trained: 86_567_656}, "x")
	if out.String() != wantAlone {
		t.Errorf("\ngot\n%swant\n%s", out.String(), wantAlone)
	}
}

func TestUnits(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{formatBytes(0), "0 B"}, {formatBytes(999), "999 B"}, {formatBytes(1000), "1.0 kB"}, {formatBytes(1249), "1.2 kB"},
		{formatBytes(999_949), "999.9 kB"}, {formatBytes(999_950), "1.0 MB"}, {formatBytes(1_500_000_000_000), "1.5 TB"},
		{formatBytes(math.MaxInt64), "9223.4 PB"},
		{humanize.Comma(0), "0"}, {humanize.Comma(999), "999"}, {humanize.Comma(1000), "1,000"}, {humanize.Comma(1_234_567), "1,234,567"},
		{humanize.Comma(-123), "-123"}, {humanize.Comma(-1234), "-1,234"},
		{rate(0.012345), "0.0123"}, {rate(99.94), "99.9"}, {rate(1234.5), "1,235"}, {rate(math.Inf(1)), "-"},
		{percent(1), "100.0 %"}, {seconds(59.6), "1m0s"}, {seconds(math.NaN()), "-"},
	} {
		if c.got != c.want {
			t.Errorf("got %s, want %s", c.got, c.want)
		}
	}
}
