package broker

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/commitlog"
	"github.com/headwater/headwater/broker/disk"
	"github.com/headwater/headwater/broker/partition"
	"github.com/headwater/headwater/broker/region"
	"github.com/headwater/headwater/broker/topic"
)

// regionImage is the data of broker 1001 of a region, which has ordered something about
// plain-0 alone.
func regionImage(t *testing.T) image {
	t.Helper()
	all := dataImage(t, false)
	delete(all, filepath.Join(verifyDir, topicsFile))
	fsys := all.disk(t)
	dir, err := commitlog.OpenDir(verifyDir, commitlog.Options{FS: fsys, BrokerID: commitlog.AnyBroker})
	if err != nil {
		t.Fatal(err)
	}
	if err := dir.Adopt("cluster", 1001); err != nil {
		t.Fatal(err)
	}
	set := partition.NewSet(dir, false, quiet)
	looking := lookingHost{host{set}}
	cfg := region.Config{Self: cluster.Broker{ID: 1001}, Defaults: topic.Defaults()}
	r := region.New(cfg, newRegionStore(fsys, verifyDir), looking, dir, nil, quiet)
	id, _ := looking.TopicID("plain", 0)
	o := region.Order{TopicPartition: cluster.TopicPartition{Topic: "plain"}, ID: id, Leader: 1, LeaderEpoch: 5, Replicas: []int32{1, 1001}, ISR: []int32{1}}
	results, err := r.LeaderAndISR(region.From{ControllerEpoch: 3, BrokerEpoch: -1}, []region.Order{o}, nil)
	if err = errors.Join(err, results[o.TopicPartition]); err != nil {
		t.Fatal(err)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if err := errors.Join(r.RunSaver(ended), dir.Close()); err != nil {
		t.Fatal(err)
	}
	return imageOf(t, fsys, verifyDir)
}

// The data of a broker in a region is looked through as that: all of it, under whatever
// id it has, and nothing is made of it that only a broker which is alone may do.
func TestVerifyRegion(t *testing.T) {
	whole := regionImage(t)
	if found := checkRepair(t, whole); len(found) > 0 {
		t.Errorf("found %q", found)
	}
	log := filepath.Join(verifyDir, "plain-1", "00000000000000000022.log")
	torn := whole.clone()
	torn[log] = torn[log][:len(torn[log])-7]
	fsys := torn.disk(t)
	if found, sum := verify(t, fsys, true); len(found) == 0 || sum.Left > 0 || sum.Partitions != 3 {
		t.Errorf("found %q, %+v", found, sum)
	}
	for name, data := range imageOf(t, fsys, verifyDir) {
		base := filepath.Base(name)
		if base == topicsFile {
			t.Error("a list of topics has been made")
		}
		if (base == "leader-epoch-checkpoint" || base == regionFile) && !bytes.Equal(data, whole[name]) {
			t.Errorf("%s: %q, and it was %q", name, data, whole[name])
		}
	}
}

// A damaged document is set aside, and the directory stays a region's.
func TestVerifyRegionDocument(t *testing.T) {
	damaged := regionImage(t)
	doc := damaged[filepath.Join(verifyDir, regionFile)]
	doc[len(doc)/2] ^= 1
	fsys := damaged.disk(t)
	want := []string{regionFile + " region"}
	if found, _ := verify(t, fsys, false); !slices.Equal(found, want) {
		t.Errorf("found %q, want %q", found, want)
	}
	if _, sum := verify(t, fsys, true); sum.Left != 0 || sum.Partitions != 3 {
		t.Errorf("%+v", sum)
	}
	names := slices.Sorted(maps.Keys(imageOf(t, fsys, verifyDir)))
	aside := slices.ContainsFunc(names, func(name string) bool { return strings.Contains(name, regionFile+".damaged-") })
	if !aside || !slices.Contains(names, filepath.Join(verifyDir, regionFile)) {
		t.Errorf("there are %q", names)
	}
}

// A broker that is alone does not write to what others have replicas of, whatever id it
// has.
func TestAloneRefusesRegionsData(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	for _, id := range []int32{1001, 1} {
		fsys := regionImage(t).disk(t)
		_, err = Open(Config{DataDir: verifyDir, FS: struct{ disk.FS }{fsys}, BrokerID: id, TopicDefaults: topic.Defaults(), MaxPartitions: 100}, ln, quiet, nil)
		if !errors.Is(err, ErrJoined) {
			t.Errorf("as broker %d: got %v, want %v", id, err, ErrJoined)
		}
	}
}

// Producer ids that are damaged are never handed out, and a look says so.
func TestVerifyRegionProducerIDs(t *testing.T) {
	damaged := regionImage(t)
	name := filepath.Join(verifyDir, producerIDsFile)
	damaged[name] = []byte("{")
	want := []string{producerIDsFile + " producer ids"}
	if found := checkRepair(t, damaged); !slices.Equal(found, want) {
		t.Errorf("found %q, want %q", found, want)
	}
}
