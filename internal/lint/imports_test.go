// Package lint holds checks of the tree itself, as tests.
package lint

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

// table says what of ours each package may import outside its tests: imports run downward only. A package not listed fails.
var table = map[string][]string{
	"mpi":                  {"internal/cgroup", "internal/machine", "internal/memory"},
	"mpi/mpitest":          {"mpi"},
	"random":               {},
	"measure":              {},
	"config":               {"method", "family"},
	"method":               {},
	"compute":              {},
	"collective":           {}, // the ranks come to it as an interface
	"checkpoint":           {}, // a run's state comes to it as memory
	"data":                 {"data/limit", "data/packed", "data/picture", "data/source", "data/transform", "random"},
	"data/transform":       {"data/picture"},
	"data/source":          {"data/limit", "random"},
	"data/packed":          {"data/limit", "data/picture"},
	"data/fetch":           {},
	"data/survey":          {"data", "data/picture"},
	"data/picture":         {"data/limit"},
	"data/limit":           {},
	"nn":                   {"compute"},
	"nn/nntest":            {"compute"},
	"lora":                 {"nn", "compute"},
	"model":                {"lora", "nn", "compute", "family"},
	"family":               {},
	"train":                {"config", "method", "model", "lora", "nn", "data", "collective", "checkpoint", "compute", "measure", "random", "record", "task", "merge"},
	"task":                 {"data", "nn"},
	"record":               {},
	"report":               {"config", "record"},
	"compare":              {"config", "method", "record"},
	"experiment":           {"config", "method", "collective", "compare", "report"},
	"bench":                {"config", "nn", "data", "data/packed", "collective", "compute", "random", "train", "merge"},
	"plan":                 {"config", "method", "model", "lora", "data", "collective", "compute", "train", "merge"},
	"internal/lint":        {},
	"internal/cgroup":      {},
	"internal/memory":      {"internal/cgroup", "internal/machine"},
	"internal/file":        {},
	"internal/quote":       {},
	"internal/session":     {"method", "record", "checkpoint", "collective", "compute", "config", "data", "data/picture", "internal/footprint", "internal/machine", "model", "mpi", "report", "train"},
	".":                    {"internal/cli"}, // main wires all of them
	"collective/grouptest": {"collective"},
	"merge":                {"checkpoint", "collective", "compute", "lora"},
	"compute/backendtest":  {"compute"},
	"internal/machine":     {},
	"internal/footprint":   {"collective", "config", "data", "internal/memory", "plan"},
	"internal/cli":         {"*"}, // commands wire all packages
	"internal/ltetest":     {"record", "checkpoint", "internal/cli", "mpi/mpitest", "train"},
	"jobs":                 {},
}

// leaves are packages that any other may import: they import none of ours.
var leaves = []string{"internal/file", "internal/quote"}

// unlisted names what the table does not allow a package to import; ok is false for a package that is not in the table.
func unlisted(name string, imports []string) (bad []string, ok bool) {
	may, ok := table[name]
	for _, other := range imports {
		if !slices.Contains(may, other) && !slices.Contains(may, "*") && !slices.Contains(leaves, other) {
			bad = append(bad, other)
		}
	}
	return bad, ok
}

func TestImports(t *testing.T) {
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports,Module", "-e", "./...")
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	seen := 0
	for list := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			ImportPath string
			Imports    []string
			Module     struct{ Path string }
		}
		if err := list.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		seen++
		ours := func(full string) (string, bool) {
			if full == p.Module.Path {
				return ".", true
			}
			return strings.CutPrefix(full, p.Module.Path+"/")
		}
		name, _ := ours(p.ImportPath)
		var imports []string
		for _, full := range p.Imports {
			if other, is := ours(full); is {
				imports = append(imports, other)
			}
		}
		bad, ok := unlisted(name, imports)
		if !ok {
			t.Errorf("package %s is not in the table of %s", name, path.Join("internal", "lint", "imports_test.go"))
		}
		for _, other := range bad {
			t.Errorf("package %s imports %s: it may import %v of ours", name, other, table[name])
		}
	}
	if seen == 0 {
		t.Error("go list found no package")
	}
}

func TestUnlisted(t *testing.T) {
	for _, c := range []struct {
		name, imports, bad string
		ok                 bool
	}{
		{"data", "random", "", true},
		{"data", "random mpi", "mpi", true},
		{"collective", "mpi", "mpi", true},
		{"internal/cli", "mpi train", "", true},
		{".", "mpi internal/cli", "mpi", true},
		{"data", "internal/file", "", true},
		{"util", "", "", false},
	} {
		bad, ok := unlisted(c.name, strings.Fields(c.imports))
		if strings.Join(bad, " ") != c.bad || ok != c.ok {
			t.Errorf("%s imports %q: %q, %v; want %q, %v", c.name, c.imports, bad, ok, c.bad, c.ok)
		}
	}
}

// training lists what a reader of run records must not depend on, directly or not.
var training = []string{"compute", "model", "train", "mpi"}

// dependencies lists what the packages depend on outside the standard library, and those of them that use cgo.
func dependencies(t *testing.T, packages ...string) (all, cgo []string) {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-deps", "-f", `{{if not .Standard}}{{.ImportPath}} {{len .CgoFiles}}{{end}}`}, packages...)...)
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for line := range strings.Lines(string(out)) {
		name, files, _ := strings.Cut(strings.TrimSpace(line), " ")
		all = append(all, strings.TrimPrefix(name, "lte/"))
		if files != "0" {
			cgo = append(cgo, name)
		}
	}
	return all, cgo
}

// Reports are read and compared on machines without MPI or BLAS. Fails if a reader of run records depends on what trains, or on cgo.
func TestReadersOfRecordsDoNotDependOnTraining(t *testing.T) {
	for packages, forbidden := range map[string][]string{
		"./record ./report ./compare ./measure": append(training, "collective"),
		"./experiment":                          training, // its ranks agree through package collective
	} {
		all, cgo := dependencies(t, strings.Fields(packages)...)
		for _, name := range forbidden {
			if slices.Contains(all, name) {
				t.Errorf("%s depend on %s", packages, name)
			}
		}
		if cgo != nil {
			t.Errorf("%s use cgo in %v", packages, cgo)
		}
	}
	all, cgo := dependencies(t, "./train", "./mpi")
	for _, name := range append(training, "collective") {
		if !slices.Contains(all, name) {
			t.Errorf("the dependencies of ./train and ./mpi are listed without %s", name)
		}
	}
	if !slices.Contains(cgo, "lte/mpi") {
		t.Errorf("packages with cgo are listed without lte/mpi: %v", cgo)
	}
}
