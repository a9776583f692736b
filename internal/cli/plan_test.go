package cli_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"lte/internal/session"
	"lte/plan"
)

// tell is a plan whose speed is said.
var tell = []string{"plan", "--images-per-second", "36"}

func tellWith(args ...string) []string { return append(append([]string{}, tell...), args...) }

// Exit code, and a part of what is printed. Fails if a flag is not heard, or a mistake is not one line that says what to do.
func TestPlanCommand(t *testing.T) {
	for _, c := range []struct {
		args           []string
		code           int
		stdout, stderr string
	}{
		{tell, 0, "vit-64x4/2, images of 8×8, batch 16; 8 ranks, 1 on a node", ""},
		{tellWith("--model", "vit-s/32"), 0, "vit-s/32, images of 224×224", ""},
		{tellWith("--image", "32", "--classes", "10"), 0, "images of 32×32", ""},
		{tellWith("--bandwidth", "50Mbit", "--latency", "20ms"), 0, "between nodes 50 Mbit/s, 20 ms;", ""},
		{tellWith("--bandwidth", "125 MB/s"), 0, "between nodes 1 Gbit/s", ""},
		{tellWith("--node-bandwidth", "10Gbps", "--node-latency", "1us"), 0, "within a node 10 Gbit/s, 1 µs", ""},
		{tellWith("--ranks", "4096", "--ranks-per-node", "8"), 0, "4096 ranks, 8 on a node", ""},
		{tellWith("--set", "exchange.wire=int8", "--set", "exchange.transport=auto"), 0, "wire int8, transport auto", ""},
		{tellWith("--mpi", "openmpi"), 0, "collectives of openmpi", ""},
		{tellWith("--set", "method=sequential"), 0, "sequential", ""},
		{tellWith("--bandwidth", "50mbit"), session.ExitUsage, "", "M is mega, m is milli"},
		{tellWith("--bandwidth", "50"), session.ExitUsage, "", `"50" is not a rate`},
		{tellWith("--bandwidth", "1.2.3Mbit"), session.ExitUsage, "", "is not a rate"},
		{tellWith("--ranks", "0"), session.ExitUsage, "", "--ranks must be at least 1 and at most 1048576, not 0"},
		{tellWith("--ranks-per-node", "0"), session.ExitUsage, "", "--ranks-per-node must be at least 1"},
		{tellWith("--mpi", "lam"), session.ExitUsage, "", "--mpi must be mpich or openmpi"},
		{[]string{"plan", "--images-per-second=-1"}, session.ExitUsage, "", "--images-per-second must be at least 0"},
		{[]string{"plan", "--images-per-second", "nan"}, session.ExitUsage, "", "--images-per-second must be at least 0 and at most 1e+09, not NaN"},
		{[]string{"plan", "--images-per-second", "inf"}, session.ExitUsage, "", "--images-per-second must be at least 0 and at most 1e+09, not +Inf"},
		{[]string{"plan", "--images-per-second", "1e308"}, session.ExitUsage, "", "--images-per-second must be at least 0 and at most 1e+09"},
		{[]string{"plan", "--images-per-second", "1e-300"}, session.ExitUsage, "", "--images-per-second must be 0, to measure it, or at least 1e-06"},
		{tellWith("--image", "100000000000"), session.ExitUsage, "", "--image must be at least 0 and at most 16384, not 100000000000"},
		{tellWith("--classes", "4611686018427387904"), session.ExitUsage, "", "--classes must be at least 0 and at most 1000000"},
		{tellWith("--ranks", "4600000000000000000"), session.ExitUsage, "", "--ranks must be at least 1 and at most 1048576, not 4600000000000000000"},
		{tellWith("--ranks", "1000000000"), session.ExitUsage, "", "--ranks must be at least 1 and at most 1048576"},
		{tellWith("--ranks-per-node", "4600000000000000000"), session.ExitUsage, "", "--ranks-per-node must be at least 1 and at most 1048576"},
		{tellWith("--cores", "4600000000000000000"), session.ExitUsage, "", "--cores must be at least 0 and at most 1048576"},
		{tellWith("--latency=-1s"), session.ExitUsage, "", "--latency must be at least 0s and at most 1h0m0s, not -1s"},
		{tellWith("--node-latency=-1s"), session.ExitUsage, "", "--node-latency must be at least 0s and at most 1h0m0s, not -1s"},
		{tellWith("--latency", "1000000h"), session.ExitUsage, "", "--latency must be at least 0s and at most 1h0m0s"},
		{tellWith("--bandwidth", "nan"), session.ExitUsage, "", `"nan" is not a rate`},
		{tellWith("--bandwidth", "inf"), session.ExitUsage, "", `"inf" is not a rate`},
		{tellWith("--bandwidth", "1e300B"), session.ExitUsage, "", "is not a rate"},
		{tellWith("--bandwidth", strings.Repeat("9", 400)+"bit"), session.ExitUsage, "", "expected a"},
		{tellWith("--bandwidth", strings.Repeat("9", 40)+"bit"), session.ExitUsage, "", "is more than 8 Pbit/s"},
		{tellWith("--bandwidth", "0"), session.ExitUsage, "", "--bandwidth must be above 0"},
		{tellWith("--node-bandwidth", "10000000Gbit"), session.ExitUsage, "", "is more than 8 Pbit/s"},
		{tellWith("--set", "data.path=pictures"), session.ExitUsage, "", "set their side and the number of classes"},
		{tellWith("--set", "lora.heads=3"), session.ExitUsage, "", "lora.heads = 3 cannot be shared out"},
		{tellWith("--set", "lora.rnk=3"), session.ExitUsage, "", `unknown key "lora.rnk"`},
		{tellWith("--image", "33", "--classes", "10"), session.ExitUsage, "", "does not divide"},
	} {
		var stdout, stderr bytes.Buffer
		if code := run(c.args, &stdout, &stderr); code != c.code {
			t.Errorf("lte %v: exit code %d, want %d", c.args, code, c.code)
		}
		if !strings.Contains(stdout.String(), c.stdout) || !strings.Contains(stderr.String(), c.stderr) {
			t.Errorf("lte %v printed %q and %q, want %q and %q in them", c.args, stdout.String(), stderr.String(), c.stdout, c.stderr)
		}
		if c.code != 0 && strings.Count(stderr.String(), "\n") != 1 {
			t.Errorf("lte %v: an error is one line, not %q", c.args, stderr.String())
		}
	}
}

// Fails if a line of JSON is no prediction, the configured method is not the first, or crowding a node costs nothing.
func TestPlanJSON(t *testing.T) {
	lines := func(args ...string) (all []plan.Prediction) {
		var stdout, stderr bytes.Buffer
		if code := run(tellWith(append(args, "--json", "--set", "method=diloco", "--latency", "1ms")...), &stdout, &stderr); code != 0 {
			t.Fatalf("exit code %d: %s", code, stderr.String())
		}
		for _, line := range strings.Split(strings.TrimSpace(stdout.String()), "\n") {
			var p plan.Prediction
			d := json.NewDecoder(strings.NewReader(line))
			d.DisallowUnknownFields()
			if err := d.Decode(&p); err != nil {
				t.Fatal(err)
			}
			all = append(all, p)
		}
		return all
	}
	free, crowded := lines("--ranks-per-node", "4"), lines("--ranks-per-node", "4", "--cores", "2")
	for i, method := range []string{"diloco", "lte", "full", "localsgd"} {
		if free[i].Method != method || free[i].Kind != "plan" || free[i].ImagesPerSecond <= 0 || free[i].PerNode != 4 {
			t.Errorf("%+v", free[i])
		}
		if crowded[i].ExchangeSeconds <= free[i].ExchangeSeconds || crowded[i].MergeSeconds <= free[i].MergeSeconds {
			t.Errorf("%s: crowded %+v, free %+v", method, crowded[i], free[i])
		}
	}
	// The configured method's images/s are what a flag says they are.
	if p := free[0]; p.Steps*16 < int(35.9*p.StepSeconds) || p.Steps*16 > int(36.1*p.StepSeconds)+1 {
		t.Errorf("%d steps of 16 images in %v s, at 36 a second", p.Steps, p.StepSeconds)
	}
}

// Fails if a time beyond what nanoseconds count overflows.
func TestPlanOfCenturies(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if code := run([]string{"plan", "--images-per-second", "1e-6", "--ranks", "1048576", "--latency", "1h", "--bandwidth", "1kbit"}, &stdout, &stderr); code != 0 ||
		strings.Contains(stdout.String(), " -") || !strings.Contains(stdout.String(), "years") {
		t.Errorf("exit code %d, %s%s", code, stdout.String(), stderr.String())
	}
}
