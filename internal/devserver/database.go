package devserver

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"go.temporal.io/server/common/config"
	sqliteplugin "go.temporal.io/server/common/persistence/sql/sqlplugin/sqlite"
	sqliteschema "go.temporal.io/server/schema/sqlite"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/paretopress/paretopress/workflows"
)

// databaseFile is the database of this release of the Temporal server, which never migrates SQLite files.
const databaseFile = "temporal-1.32.db"

// openDatabase makes the database if there is none, with the namespace, and returns how to reach it.
func openDatabase(o Options) (*config.SQL, error) {
	path := filepath.Join(o.DataDir, databaseFile)
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		if err := create(path, o); err != nil {
			return nil, fmt.Errorf("devserver: make %s: %w", path, err)
		}
	} else if err != nil {
		return nil, fmt.Errorf("devserver: %w", err)
	}
	// Write-ahead logging without a sync at every commit: a power cut may take the last commits, never
	// the database's integrity, and what activities did lies in the run folder.
	db := sqlite(path, map[string]string{"mode": "rw", "journal_mode": "wal", "synchronous": "normal"})
	if err := addNamespace(db, o); err != nil {
		return nil, fmt.Errorf("devserver: open %s: %w", path, err)
	}
	return db, nil
}

// create makes a database under another name and moves it to its own when it is complete, so that a
// process that dies meanwhile leaves nothing that would be taken for a database.
func create(path string, o Options) error {
	draft := path + ".new"
	for _, suffix := range []string{"", "-journal"} {
		if err := os.Remove(draft + suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	db := sqlite(draft, map[string]string{"mode": "rwc", "synchronous": "off"})
	if err := sqliteschema.SetupSchema(db); err != nil {
		return err
	}
	if err := addNamespace(db, o); err != nil {
		return err
	}
	f, err := os.Open(draft)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		return err
	}
	return os.Rename(draft, path)
}

// sqlite is the configuration of a database file; attributes are SQLite's mode and pragmas.
func sqlite(path string, attributes map[string]string) *config.SQL {
	// The path becomes part of a URI.
	path = strings.NewReplacer("%", "%25", "?", "%3f", "#", "%23").Replace(path)
	return &config.SQL{PluginName: sqliteplugin.PluginName, DatabaseName: path, ConnectAttributes: attributes}
}

// addNamespace makes the namespace, with the search attributes of the workflows, unless it exists.
func addNamespace(db *config.SQL, o Options) error {
	ns, err := sqliteschema.NewNamespaceConfig(clusterName, o.Namespace, false, workflows.Attributes())
	if err != nil {
		return err
	}
	ns.Detail.Config.Retention = durationpb.New(o.Retention)
	return sqliteschema.CreateNamespaces(db, ns)
}
