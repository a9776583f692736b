package jobs

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
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
			for _, words := range commands(t, said) {
				if !slices.Contains(words, "train") {
					continue
				}
				tasks++
				line := strings.Join(words, " ")
				if !strings.Contains(line, " train --quiet ") {
					t.Errorf("%s, %s: not quiet:\n%s", script, profile, line)
				}
				ranks, dir, settings := arguments(words)
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

// commands are the words of each line, as bash reads them.
func commands(t *testing.T, lines string) (all [][]string) {
	t.Helper()
	cmd := exec.Command("bash", "-c", `while IFS= read -r line; do eval "printf '%s\0' $line"; printf '\n\0'; done`)
	cmd.Stdin = strings.NewReader(lines)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	for command := range strings.SplitSeq(strings.TrimSuffix(string(out), "\n\x00"), "\n\x00") {
		all = append(all, strings.Split(strings.TrimSuffix(command, "\x00"), "\x00"))
	}
	return all
}

// arguments are what a command says: ranks, run directory and settings.
func arguments(words []string) (ranks int, dir string, settings []string) {
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
