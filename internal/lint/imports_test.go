package lint

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/paretopress/paretopress"

// arrows lists, for each package of the module, the packages of the module that it may import.
// A package that is not listed may not exist: adding one means deciding here where it stands.
var arrows = map[string][]string{
	"cmd/paretopress":          {"internal/cli"},
	"internal/cli":             {"workflows", "evalworker", "export", "internal/devserver", "internal/devserver/lease", "bank", "engine", "search", "internal/builtin", "internal/durable", "internal/hub", "internal/hub/hubtest", "internal/kernel"},
	"evalworker":               {"workflows", "search", "bank", "prune", "quant", "sparseft", "export", "engine", "internal/obs", "internal/kernel", "internal/builtin", "internal/durable", "internal/hub", "internal/hub/hubtest"},
	"workflows":                {"workflows/flowtest"}, // its tests
	"workflows/flowtest":       {"workflows"},
	"search":                   {},
	"bank":                     {"engine", "internal/kernel", "internal/durable", "internal/safetensors"},
	"prune":                    {"engine", "internal/kernel", "internal/obs", "internal/obs/obstest"},
	"quant":                    {"engine", "internal/kernel", "internal/obs", "internal/obs/obstest"},
	"sparseft":                 {"internal/safetensors"},
	"export":                   {"engine", "internal/kernel", "internal/durable", "internal/builtin", "internal/safetensors", "quant", "prune"}, // quant, prune: its tests
	"engine":                   {"internal/kernel", "internal/builtin", "internal/safetensors"},
	"internal/obs":             {"internal/kernel"},
	"internal/obs/obstest":     {"internal/obs", "internal/kernel"},
	"internal/kernel":          {},
	"internal/builtin":         {"internal/safetensors"}, // its tests
	"internal/builtin/gen":     {"internal/builtin"},
	"internal/builtin/train":   {"engine", "internal/builtin", "internal/safetensors", "internal/kernel", "internal/durable"},
	"internal/durable":         {},
	"internal/safetensors":     {},
	"internal/hub":             {"internal/durable", "internal/hub/hubtest"},
	"internal/hub/hubtest":     {},
	"internal/devserver":       {"internal/devserver/lease", "workflows", "workflows/flowtest", "internal/durable"},
	"internal/devserver/lease": {"internal/durable"},
	"internal/lint":            {},
	"bench/largemodel":         {},
}

// restricted lists packages outside the module that only the named packages may import.
// The Temporal server takes minutes to compile; a test of anything else must not wait for it.
var restricted = map[string][]string{
	"go.temporal.io/server":           {"internal/devserver"},
	"github.com/temporalio/ui-server": {"internal/devserver"},
}

// only lists packages that may import nothing from outside the module but the named ones and the
// standard library.
var only = map[string][]string{
	"search":           {"github.com/MaxHalford/eaopt", "gonum.org/v1/gonum"},
	"sparseft":         {},
	"internal/builtin": {},
}

// TestImportArrows holds the direction in which data flows: orchestration on the left, kernels on
// the right, and nothing points back.
func TestImportArrows(t *testing.T) {
	seen := map[string]bool{}
	eachGoFile(t, func(dir, file string, imports []string) {
		seen[dir] = true
		allowed, known := arrows[dir]
		if !known {
			t.Errorf("%s: package %s has no entry in the table of import arrows", file, dir)
			return
		}
		for _, imp := range imports {
			if imp == "C" {
				t.Errorf("%s: imports C; the binary is static and built without cgo", file)
			}
			if inner, ok := strings.CutPrefix(imp, module+"/"); ok {
				external := strings.HasSuffix(file, "_test.go") && inner == dir
				if !external && !slices.Contains(allowed, inner) {
					t.Errorf("%s: %s may not import %s", file, dir, inner)
				}
				continue
			}
			for prefix, who := range restricted {
				if within(imp, prefix) && !slices.Contains(who, dir) {
					t.Errorf("%s: only %v may import %s", file, who, imp)
				}
			}
			if list, ok := only[dir]; ok && strings.Contains(strings.Split(imp, "/")[0], ".") {
				if !slices.ContainsFunc(list, func(p string) bool { return within(imp, p) }) {
					t.Errorf("%s: %s may import only the standard library and %v, not %s", file, dir, list, imp)
				}
			}
		}
	})
	for dir := range arrows {
		if !seen[dir] {
			t.Errorf("the table of import arrows names %s, which has no Go file", dir)
		}
	}
}

// within reports whether the import path imp is prefix or below it.
func within(imp, prefix string) bool {
	return imp == prefix || strings.HasPrefix(imp, prefix+"/")
}

// eachGoFile calls f with the package folder, the path and the imports of every Go file that
// belongs to the module (folders that start with _ or . and nested modules do not).
func eachGoFile(t *testing.T, f func(dir, file string, imports []string)) {
	t.Helper()
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if p == root {
				return nil
			}
			name := d.Name()
			if strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") || name == "testdata" || name == "runs" {
				return filepath.SkipDir
			}
			if _, err := os.Stat(filepath.Join(p, "go.mod")); err == nil {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(p, ".go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), p, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		var imports []string
		for _, spec := range file.Imports {
			imp, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			imports = append(imports, imp)
		}
		f(path.Dir(rel), rel, imports)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
