package broker

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/disk"
	"github.com/headwater/headwater/broker/partition"
)

// topicsFile is where a broker without ZooKeeper keeps its list of topics.
const topicsFile = "headwater.topics.json"

// maxDocBytes bounds the list of topics when it is read: some 100,000 topics.
const maxDocBytes = 64 << 20

// fileStore keeps Solo's document in a file of the data directory.
type fileStore struct {
	fsys disk.FS
	path string
}

func newFileStore(fsys disk.FS, dir string) fileStore {
	return fileStore{fsys, filepath.Join(dir, topicsFile)}
}

// Load implements cluster.Store.
func (s fileStore) Load() ([]byte, error) {
	doc, err := disk.ReadFile(s.fsys, s.path, maxDocBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return doc, err
}

// exists reports whether there is a document, whole or not.
func (s fileStore) exists() (bool, error) {
	_, err := s.fsys.Stat(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// Save implements cluster.Store.
func (s fileStore) Save(doc []byte) error { return disk.WriteFile(s.fsys, s.path, doc) }

// SetAside implements cluster.Store.
func (s fileStore) SetAside() error {
	aside := fmt.Sprintf("%s.damaged-%d", s.path, time.Now().UnixMilli())
	if err := s.fsys.Rename(s.path, aside); err != nil {
		return fmt.Errorf("set the damaged %s aside: %w", filepath.Base(s.path), err)
	}
	return s.fsys.SyncDir(filepath.Dir(s.path))
}

// host fits a partition.Set to cluster.Host.
type host struct{ *partition.Set }

// Hosted implements cluster.Host.
func (h host) Hosted() ([]cluster.Hosted, error) {
	onDisk, err := h.OnDisk()
	if err != nil {
		return nil, err
	}
	hosted := make([]cluster.Hosted, 0, len(onDisk))
	for _, p := range onDisk {
		hosted = append(hosted, cluster.Hosted{Topic: p.Topic, Index: p.Index, ID: p.ID})
	}
	return hosted, nil
}
