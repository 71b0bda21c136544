package commitlog

import (
	"path/filepath"

	"github.com/headwater/headwater/broker/disk"
)

// AnyBroker is the BrokerID of Options for a directory that is taken as whichever
// broker's it is.
const AnyBroker int32 = -1

// Adopt makes the directory, which no broker of a cluster has used, one of that
// cluster's broker. The copy is written first: whichever of the two a power cut
// leaves is whole.
func (d *Dir) Adopt(clusterID string, brokerID int32) error {
	d.mu.Lock()
	next := d.identity
	d.mu.Unlock()
	next.clusterID, next.brokerID = clusterID, brokerID
	for _, name := range []string{identityCopy, metaProperties} {
		if err := disk.WriteFile(d.fs, filepath.Join(d.path, name), next.format()); err != nil {
			return err
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.identity = next
	return nil
}
