//go:build slurm

package jobs

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"lte/compare"
	"lte/record"
)

// The scripts of jobs/ on a SLURM of two nodes, which tools/slurm.sh starts on this machine: `make test-slurm`.

// cluster is that SLURM.
type cluster struct {
	dir string // its state, and the program
	env []string
}

func newCluster(t *testing.T) cluster {
	t.Helper()
	c := cluster{dir: t.TempDir()}
	lte := filepath.Join(c.dir, "lte")
	if out, err := exec.Command("go", "build", "-o", lte, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	cmd := exec.Command("tools/slurm.sh", c.dir, "sh", "-c", "echo up; cat")
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
	if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "up\n" {
		t.Fatalf("SLURM did not come up: %q, %v", line, err)
	}
	c.env = append(os.Environ(), "SLURM_CONF="+filepath.Join(c.dir, "slurm.conf"), "LTE="+lte,
		"PROFILE=smoke", "NODES=2", "RANKS_PER_NODE=1", "TIME_LIMIT=10")
	return c
}

// run runs a command of this cluster.
func (c cluster) run(name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Env = c.env
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// job is a sweep that was submitted.
type job struct {
	cluster
	t     *testing.T
	out   string
	array string // number of the job array
	last  string // of the report's job
}

// submit submits a sweep, with more variables.
func (c cluster) submit(t *testing.T, script string, variables ...string) job {
	t.Helper()
	j := job{cluster: c, t: t, out: filepath.Join(t.TempDir(), "out")}
	j.env = append(append([]string(nil), c.env...), append(variables, "OUT="+j.out)...)
	log := filepath.Join(t.TempDir(), "submit.log")
	command := []string{"sbatch", "--wait", "--output=" + log, "jobs/" + script}
	if script == "mixer-sweep.sh" { // as from a login node
		command = []string{"sh", "-c", "jobs/" + script + " submit >" + log}
	}
	if out, err := j.run(command[0], command[1:]...); err != nil {
		t.Fatalf("%v\n%s\n%s", err, out, text(log))
	}
	_, said, _ := strings.Cut(text(log), "tasks are job ")
	if n, err := fmt.Sscanf(strings.ReplaceAll(said, ",", " "), "%s the report is job %s", &j.array, &j.last); n != 2 {
		t.Fatalf("the sweep says %q: %v", text(log), err)
	}
	return j
}

func text(path string) string {
	t, _ := os.ReadFile(path)
	return string(t)
}

// until waits for something, four minutes at most.
func (j job) until(what string, is func() bool) {
	j.t.Helper()
	for end := time.Now().Add(4 * time.Minute); !is(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			queue, _ := j.run("squeue")
			j.t.Fatalf("waited four minutes for %s\n%s\n%s", what, queue, j.logs())
		}
	}
}

// end waits for the report, which is the last of the sweep.
func (j job) end() {
	j.t.Helper()
	j.until("the end of the sweep", func() bool {
		// A task that is queued again waits two minutes until its nodes are surely done with it; three seconds do here.
		if out, _ := j.run("squeue", "-h", "-t", "PD", "-j", j.array, "-o", "%i %r"); strings.Contains(out, "BeginTime") {
			time.Sleep(3 * time.Second)
			_, _ = j.run("scontrol", "update", "JobId="+strings.Fields(out)[0], "StartTime=now")
		}
		out, err := j.run("squeue", "-h", "-j", j.array+","+j.last)
		return err == nil && out == ""
	})
}

// logs are what all jobs of the sweep said.
func (j job) logs() (all string) {
	names, _ := filepath.Glob(filepath.Join(j.out, "logs", "*"))
	for _, name := range names {
		all += "== " + filepath.Base(name) + "\n" + text(name)
	}
	return all
}

// says fails unless the logs have it.
func (j job) says(want string) {
	j.t.Helper()
	if !strings.Contains(j.logs(), want) {
		j.t.Errorf("no %q in\n%s", want, j.logs())
	}
}

// training waits until a run has so many records.
func (j job) training(name string, records int) {
	j.t.Helper()
	j.until("step "+strconv.Itoa(records), func() bool {
		return strings.Count(text(filepath.Join(j.out, name, "metrics.jsonl")), "\n") >= records
	})
}

// digest is that of a finished run's weights.
func (j job) digest(name string) string {
	j.t.Helper()
	var s record.Summary
	if err := json.Unmarshal([]byte(text(filepath.Join(j.out, name, "summary.json"))), &s); err != nil {
		j.t.Fatalf("%s: %v\n%s", name, err, j.logs())
	}
	return s.WeightsDigest
}

const oneRun = "16x2-2-lte-1"

// alone submits a sweep of one run of so many steps.
func (c cluster) alone(t *testing.T, steps int, variables ...string) job {
	t.Helper()
	return c.submit(t, "vit-sweep.sh", append(variables, "METHODS=lte", "SCALES=16x2/2",
		fmt.Sprintf("SET=train.steps=%d run.log_every=20 checkpoint.merges=20", steps))...)
}

// resumed waits for the end of a sweep of one run, which must have been begun more than once and be what it is undisturbed.
func (j job) resumed(undisturbed job) {
	j.t.Helper()
	undisturbed.t = j.t
	j.end()
	undisturbed.end()
	if got, want := j.digest(oneRun), undisturbed.digest(oneRun); got != want {
		j.t.Errorf("digest %s, undisturbed %s\n%s", got, want, j.logs())
	}
	j.says("1 runs, 0 missing")
	if strings.Count(j.logs(), "vit-sweep: "+oneRun+"\n") < 2 {
		j.t.Errorf("it was not disturbed\n%s", j.logs())
	}
}

// Sweeps on a real SLURM, each on both nodes. Fails if a script launches ranks that do not find one another, a task that is
// interrupted in any way does not continue as if it had not been, or one that fails is not named.
func TestSweepsOnSLURM(t *testing.T) {
	t.Chdir("..")
	c := newCluster(t)

	// SLURM looks at time limits every 30 s: until then this run is suspended, and the others continue.
	const short, steps = 2000, 6000
	limited := c.alone(t, short, "TIME_LIMIT=1", "WARN=60")
	limited.training(oneRun, 10)
	warned := limited.suspendUntil(syscall.SIGUSR1)
	unlimited, undisturbed := c.alone(t, short), c.alone(t, steps)

	t.Run("the wrong launcher", func(t *testing.T) {
		out, err := c.run("srun", "-K1", "-W30", "--mpi=none", "-N2", "-n2", "--ntasks-per-node=1", filepath.Join(c.dir, "lte"), "train", "--run-dir", t.TempDir())
		if err == nil || !strings.Contains(out, "SLURM_NTASKS=2") {
			t.Errorf("%v: %s", err, out)
		}
	})
	disturbed := func(t *testing.T, disturb func(j job)) {
		j := c.alone(t, steps)
		j.training(oneRun, 10)
		disturb(j)
		j.resumed(undisturbed)
	}
	tests := map[string]func(t *testing.T){
		"a task that fails is named": func(t *testing.T) {
			j := c.submit(t, "vit-sweep.sh", "SCALES=16x2/2", "SET=optimizer.lr=1e30 train.steps=20")
			j.end()
			j.says("none of 2 runs is finished")
			j.says("16x2-2-lte-1: not finished")
			j.says("exit code 1 on n")
		},
		"time limit": func(t *testing.T) {
			limited.t = t
			if err := <-warned; err != nil {
				t.Fatal(err)
			}
			limited.resumed(unlimited)
		},
		"scancel --signal": func(t *testing.T) {
			disturbed(t, func(j job) { j.do("scancel", "--signal=USR1", j.array+"_0") })
		},
		"scontrol requeue": func(t *testing.T) {
			disturbed(t, func(j job) { j.do("scontrol", "requeue", j.array+"_0") })
		},
	}
	for _, script := range []string{"vit-sweep.sh", "mixer-sweep.sh"} {
		tests[script] = func(t *testing.T) {
			j := c.submit(t, script, "SCALES=16x2/2 32x2/2")
			if out, _ := j.run("squeue", "-h", "-o", "%D", "-j", j.array); !strings.Contains(out, "2") {
				t.Errorf("nodes of the tasks: %q", out)
			}
			j.end()
			j.says("4 runs, 0 missing")
			page := text(filepath.Join(j.out, "report", compare.PageFile))
			for _, want := range []string{"32x2/2", "Final test accuracy over scale", ">lte</text>", ">full</text>"} {
				if !strings.Contains(page, want) {
					t.Errorf("the page lacks %s", want)
				}
			}
		}
	}
	t.Run("side by side", func(t *testing.T) {
		for name, test := range tests {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				test(t)
			})
		}
	})
	t.Run("a node is killed", func(t *testing.T) { // with all that runs on it
		disturbed(t, func(j job) { j.killNode("n2") })
	})
}

// do runs a command that must succeed.
func (j job) do(name string, args ...string) {
	j.t.Helper()
	if out, err := j.run(name, args...); err != nil {
		j.t.Fatalf("%s %v: %v: %s", name, args, err, out)
	}
}

// processes are those of this cluster that have a variable.
func (c cluster) processes(variable string) (pids []int) {
	environments, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, name := range environments {
		env := text(name)
		if strings.Contains(env, variable+"\x00") && strings.Contains(env, "SLURM_CONF="+c.dir) {
			if pid, err := strconv.Atoi(strings.Split(name, "/")[2]); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// suspendUntil stops the ranks of a task, and has them continue when they have got a signal. Then, or after two minutes, it sends its result.
func (j job) suspendUntil(s syscall.Signal) <-chan error {
	j.t.Helper()
	ranks := slices.DeleteFunc(j.processes("SLURM_ARRAY_JOB_ID="+j.array), func(pid int) bool {
		program, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
		return err != nil || program != filepath.Join(j.dir, "lte")
	})
	if len(ranks) != 2 {
		j.t.Fatalf("%d ranks, want 2\n%s", len(ranks), j.logs())
	}
	for _, pid := range ranks {
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			j.t.Fatal(err)
		}
	}
	pending := func(pid int) bool { // ShdPnd:	0000000000000200
		_, value, _ := strings.Cut(text(fmt.Sprintf("/proc/%d/status", pid)), "ShdPnd:")
		var set uint64
		_, err := fmt.Sscanf(value, "%x", &set)
		return err == nil && set&(1<<(s-1)) != 0
	}
	result := make(chan error, 1)
	go func() {
		err := fmt.Errorf("no %v within two minutes", s)
		for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
			if !slices.ContainsFunc(ranks, func(pid int) bool { return !pending(pid) }) {
				err = nil
				break
			}
		}
		for _, pid := range ranks {
			err = errors.Join(err, syscall.Kill(pid, syscall.SIGCONT))
		}
		result <- err
	}()
	return result
}

// killNode kills a node's daemon and its ranks, as when its power fails, and has the node come back.
func (j job) killNode(node string) {
	j.t.Helper()
	pid, err := strconv.Atoi(strings.TrimSpace(text(filepath.Join(j.dir, "slurmd-"+node+".pid"))))
	if err != nil {
		j.t.Fatal(err)
	}
	must := func(pid int) {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			j.t.Fatal(err)
		}
	}
	must(pid)
	ranks := j.processes("SLURMD_NODENAME=" + node)
	if len(ranks) == 0 {
		j.t.Fatalf("no rank on %s", node)
	}
	for _, pid := range ranks {
		must(pid)
	}
	time.Sleep(time.Second)
	j.do("slurmd", "-N", node)
	fmt.Fprintf(os.Stderr, "killed %s and %d processes on it\n", node, len(ranks))
}
