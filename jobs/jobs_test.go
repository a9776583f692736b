package jobs

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"lte/config"
	"lte/internal/ltetest"
)

func TestMain(m *testing.M) { ltetest.Main(m) }

// Every task of every sweep, at every profile, is a configuration that lte takes, and a dry run does nothing. Fails if a
// key of the TOML files or the scripts is not one, or heads and batches cannot be shared out.
func TestEveryTaskOfTheSweeps(t *testing.T) {
	t.Chdir("..")
	scripts, err := filepath.Glob("jobs/*.sh")
	if err != nil || len(scripts) < 7 {
		t.Fatalf("%q, %v", scripts, err)
	}
	for _, script := range scripts {
		if filepath.Base(script) == "lib.sh" {
			continue
		}
		for profile, least := range map[string]int{"smoke": 2, "cifar": 2, "paper": 2} {
			out := filepath.Join(t.TempDir(), "out")
			cmd := exec.Command(script)
			cmd.Env = append(os.Environ(), ltetest.AsProgram, "LTE="+os.Args[0], "PROFILE="+profile, "DRY_RUN=1", "OUT="+out, "DATA=/data/set")
			text, err := cmd.CombinedOutput()
			if err != nil {
				t.Errorf("%s, %s: %v\n%s", script, profile, err, text)
				continue
			}
			if _, err := os.Stat(out); err == nil {
				t.Errorf("%s, %s: a dry run made %s", script, profile, out)
			}
			file, said, _ := strings.Cut(string(text), "\n\n"+"env LTE_ROLE=task sbatch ")
			sweep := filepath.Join(t.TempDir(), "sweep.toml")
			if err := os.WriteFile(sweep, []byte(file), 0o644); err != nil {
				t.Fatal(err)
			}
			tasks, names := 0, map[string]bool{}
			for line := range strings.Lines(said) {
				if !strings.Contains(line, " train --quiet ") {
					continue
				}
				tasks++
				ranks, dir, settings := arguments(t, line)
				names[dir] = true
				c, err := config.Load(sweep, settings)
				if err == nil {
					err = c.Resolve(ranks)
				}
				if err != nil {
					t.Errorf("%s, %s: %v in\n%s", script, profile, err, line)
				}
				if c.Data.Path != "/data/set" && filepath.Dir(c.Data.Path) != "/data/set" {
					t.Errorf("%s, %s: data from %q", script, profile, c.Data.Path)
				}
			}
			if tasks < least || len(names) != tasks || !strings.Contains(said, "env LTE_ROLE=report sbatch ") {
				t.Errorf("%s, %s: %d tasks of %d names\n%s", script, profile, tasks, len(names), text)
			}
		}
	}
}

// arguments are what a printed command says: ranks, run directory and settings.
func arguments(t *testing.T, command string) (ranks int, dir string, settings []string) {
	t.Helper()
	out, err := exec.Command("bash", "-c", `printf '%s\n' `+command).Output()
	if err != nil {
		t.Fatal(err)
	}
	words := strings.Split(string(out), "\n")
	for i, w := range words[:len(words)-1] {
		switch w {
		case "--set":
			settings = append(settings, words[i+1])
		case "--run-dir":
			dir = words[i+1]
		case "-np":
			for _, digit := range words[i+1] {
				ranks = 10*ranks + int(digit-'0')
			}
		}
	}
	return ranks, dir, settings
}
