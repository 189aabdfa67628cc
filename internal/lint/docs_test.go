package lint

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestReadmeTestCommand holds the README's test command to be the one that CI runs.
func TestReadmeTestCommand(t *testing.T) {
	const command = "go test ./..."
	for _, file := range []string{"README.md", ".ci/run"} {
		b, err := os.ReadFile(filepath.Join("..", "..", filepath.FromSlash(file)))
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for line := range strings.Lines(string(b)) {
			found = found || strings.TrimSpace(line) == command
		}
		if !found {
			t.Errorf("%s has no line %q", file, command)
		}
	}
}

// TestReadmePackageMap holds the README's package map to the packages that exist.
func TestReadmePackageMap(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for dir := range arrows {
		if strings.Count(dir, "/") > 1 { // an inner folder belongs to its package
			continue
		}
		if !strings.Contains(string(b), "`"+dir+"`") {
			t.Errorf("README.md does not name package `%s` in its map", dir)
		}
	}
}
