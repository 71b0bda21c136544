package appliance_test

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// room is a package, by its path in the module, and all that it may import beside
// the standard library. "broker/*" stands for every room below broker; the others
// are paths' beginnings: "github.com/prometheus/client_golang" has the packages
// in it too.
type room struct {
	path    string
	rooms   string // rooms of ours
	foreign string // modules of others
}

const (
	prometheus = "github.com/prometheus/client_golang"
	errgroup   = "golang.org/x/sync/errgroup"
)

// houseMap is who may know whom. Imports point down: no room imports one that
// stands above it. A new room comes with a line here.
var houseMap = []room{
	// the broker, from the bottom
	{"broker/topic", "", ""},
	{"broker/record", "", ""},
	{"broker/quota", "", ""},
	{"broker/disk", "", "golang.org/x/sys/unix"},
	{"broker/buffer", "", ""},
	{"broker/wire", "", "github.com/twmb/franz-go/pkg/kmsg"},
	{"broker/codec", "broker/record", "github.com/klauspost/compress github.com/pierrec/lz4/v4"},
	{"broker/commitlog", "broker/record broker/disk broker/buffer", prometheus + " " + errgroup},
	{"broker/replica", "", ""},
	{"broker/partition", "broker/replica broker/commitlog broker/record broker/topic broker/codec broker/disk broker/buffer", ""},
	{"broker/cluster", "broker/topic broker/quota", ""},
	{"broker/zk", "broker/cluster broker/topic", "github.com/go-zookeeper/zk " + prometheus},
	{"broker/zk/zktest", "", ""},
	{"broker/peer", "broker/wire", prometheus + " github.com/twmb/franz-go/pkg/kmsg"}, // a call is by request
	{"broker/controller", "broker/cluster broker/topic broker/wire", "github.com/twmb/franz-go/pkg/kmsg " + prometheus},
	{"broker/modelcheck", "", ""}, // tests alone: they take replica and controller together
	{"broker/controller/controllertest", "broker/cluster broker/topic broker/wire", "github.com/twmb/franz-go/pkg/kmsg"},
	{"broker/region", "broker/cluster broker/controller broker/quota broker/topic broker/zk", errgroup},
	{"broker/replication", "broker/replica broker/partition broker/commitlog broker/cluster broker/record broker/topic broker/peer broker/wire", prometheus + " " + errgroup + " github.com/twmb/franz-go/pkg/kmsg"},
	{"broker/group", "broker/topic broker/record broker/wire broker/codec", prometheus + " github.com/twmb/franz-go/pkg/kmsg"}, // kmsg has the records of __consumer_offsets
	{"broker/server", "broker/wire broker/buffer", prometheus + " golang.org/x/sync"},
	{"broker/api", "broker/region broker/controller broker/server broker/wire broker/buffer broker/topic broker/record broker/codec broker/commitlog broker/partition broker/replica broker/cluster broker/group broker/quota", "github.com/twmb/franz-go/pkg/kmsg golang.org/x/sync/semaphore " + prometheus},
	{"broker", "broker/*", prometheus + " " + errgroup},
	{"broker/brokertest", "broker broker/*", prometheus},

	// the bridge, from the bottom; of the broker it knows three pure rooms
	{"bridge/subject", "broker/topic", ""},
	{"bridge/dedup", "broker/record", ""},
	{"bridge/ingest", "bridge/dedup bridge/subject broker/record broker/codec broker/topic", prometheus},
	{"bridge/access", "bridge/subject", "github.com/nats-io/nkeys golang.org/x/crypto/bcrypt"},
	{"bridge/certs", "", prometheus},
	{"bridge/certs/certstest", "", ""},
	{"bridge/pull", "bridge/subject broker/record broker/topic", prometheus},
	{"bridge/commands", "bridge/pull bridge/subject broker/record", prometheus},
	{"bridge/natsd", "bridge/subject bridge/ingest bridge/pull bridge/access", "github.com/nats-io/nats-server/v2 " + prometheus + " " + errgroup},
	{"bridge/mqtt", "bridge/subject bridge/ingest bridge/access", "github.com/mochi-mqtt/server/v2 " + prometheus},
	{"bridge", "bridge/* broker/record broker/topic", prometheus + " " + errgroup},

	// the appliance
	{"appliance/config", "broker/topic bridge/subject bridge/access", "github.com/spf13/viper github.com/spf13/pflag go.yaml.in/yaml/v3"},
	{"appliance/admin", "", prometheus},
	{"appliance", "appliance/config appliance/admin firmware/boot/ring firmware/layout firmware/update broker broker/zk broker/cluster broker/commitlog broker/disk broker/group broker/quota broker/record broker/topic bridge bridge/access bridge/subject", prometheus + " " + errgroup},
	{"appliance/bench", "appliance/process broker/disk broker/record", "github.com/twmb/franz-go/pkg/kmsg " + errgroup},
	{"appliance/cmd/headwater", "appliance appliance/bench appliance/config bridge/access bridge/subject broker/topic firmware/boot firmware/update", "github.com/spf13/cobra golang.org/x/term"},

	{"appliance/deb", "", ""},
	{"appliance/cmd/mkdeb", "appliance/deb", ""},

	// the firmware, from the bottom
	{"firmware/layout", "", ""},
	{"firmware/uefi", "", ""},
	{"firmware/uefi/uefitest", "", ""},
	{"firmware/update", "firmware/layout firmware/uefi broker/disk", "github.com/klauspost/compress golang.org/x/sys/unix"},
	{"firmware/image", "firmware/layout", "github.com/klauspost/compress"},
	{"firmware/boot/site", "", "go.yaml.in/yaml/v3"},
	{"firmware/boot/gpt", "", ""},
	{"firmware/boot/ring", "", ""},
	{"firmware/boot/clock", "broker/disk", "github.com/beevik/ntp golang.org/x/sys/unix"},
	{"firmware/boot/netup", "firmware/boot/site", "github.com/vishvananda/netlink github.com/insomniacslk/dhcp"},
	{"firmware/boot", "firmware/boot/* firmware/layout", "golang.org/x/sys/unix"},
	{"firmware/parts", "", ""},
	{"firmware/cmd/mkimage", "firmware/boot/site firmware/image firmware/parts firmware/uefi firmware/update", "github.com/klauspost/compress"},

	// what looks at it from outside, by its ports alone
	{"appliance/process", "", ""},
	{"appliance/process/processtest", "appliance/process", ""},
	{"appliance/e2e/install", "", ""},
	{"appliance/e2e/firmware/machine", "appliance/process firmware/layout", ""},
	{"appliance/e2e/firmware/hangs", "firmware/boot", ""},
	{"appliance/e2e/firmware/neverready", "firmware/boot firmware/layout firmware/update", ""},
	{"appliance/e2e/jvm", "appliance/process", ""},
	{"appliance/e2e/region/card", "", ""},
	{"appliance/e2e/region/checker", "", ""},
	{"appliance/e2e/region/network", "", "golang.org/x/sys/unix"},
	{"appliance/e2e/region/replicas", "broker/record", ""},
	{"appliance/e2e/region/workload", "appliance/e2e/region/checker", "github.com/twmb/franz-go"},
	{"appliance/e2e/region/cluster", "appliance/process appliance/e2e/jvm appliance/e2e/region/card appliance/e2e/region/network broker/zk/zktest", "github.com/twmb/franz-go"},
	{"appliance/e2e/region/nemesis", "appliance/e2e/region/cluster appliance/e2e/region/network", ""},
	{"appliance/e2e/tryregion", "appliance/process appliance/e2e/region/cluster", errgroup},
	{"appliance/e2e/regionbench", "appliance/process appliance/e2e/jvm appliance/e2e/region/cluster appliance/e2e/region/network", "github.com/twmb/franz-go"},
	{"appliance/e2e/sensors", "appliance/process", ""},
	{"appliance/e2e/bridgebench", "appliance/process", "github.com/nats-io/nats.go github.com/eclipse/paho.mqtt.golang"},
	{"appliance/e2e/fleet", "", errgroup + " github.com/nats-io/nats.go github.com/eclipse/paho.mqtt.golang github.com/twmb/franz-go"},
	{"appliance/e2e/footprint", "appliance/process appliance/e2e/fleet", "github.com/nats-io/nats.go github.com/twmb/franz-go"},
}

// oneRoomEach are modules that only one room may import, so that they can be
// replaced there.
var oneRoomEach = map[string]string{
	"github.com/go-zookeeper/zk":        "broker/zk",
	"github.com/nats-io/nats-server/v2": "bridge/natsd",
	"github.com/mochi-mqtt/server/v2":   "bridge/mqtt",
	"github.com/spf13/viper":            "appliance/config",
	"github.com/spf13/cobra":            "appliance/cmd/headwater",
	"github.com/beevik/ntp":             "firmware/boot/clock",
	"github.com/vishvananda/netlink":    "firmware/boot/netup",
	"github.com/insomniacslk/dhcp":      "firmware/boot/netup",
}

// Every import of every room is one that the map allows, and every room is on it.
func TestImportMap(t *testing.T) {
	imports, err := importsBelow(os.DirFS(".."), moduleName(t))
	if err != nil {
		t.Fatal(err)
	}
	if len(imports["broker/record"]) == 0 || len(imports["appliance"]) == 0 {
		t.Fatalf("found no imports of rooms that have some; rooms: %v", imports)
	}
	for _, complaint := range complaints(houseMap, imports) {
		t.Error(complaint)
	}
}

// The map itself gives those modules to one room each, and no room twice.
func TestMapGivesModulesToOneRoom(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range houseMap {
		if seen[r.path] {
			t.Errorf("%s stands on the map twice", r.path)
		}
		seen[r.path] = true
		for module, owner := range oneRoomEach {
			if r.path != owner && slices.Contains(strings.Fields(r.foreign), module) {
				t.Errorf("%s may import %s, which only %s may", r.path, module, owner)
			}
		}
	}
}

// The test notices what it is there to notice.
func TestMapIsHeld(t *testing.T) {
	table := []room{{"house/low", "", "example.org/lib"}, {"house", "house/*", ""}}
	for name, tc := range map[string]struct {
		room, imported string
		allowed        bool
	}{
		"standardLibrary": {"house/low", "net/http", true},
		"foreign":         {"house/low", "example.org/lib/part", true},
		"otherForeign":    {"house/low", "example.org/library", false},
		"foreignAbove":    {"house", "example.org/lib", false},
		"down":            {"house", "./house/low", true},
		"up":              {"house/low", "./house", false},
		"unknownRoom":     {"shed", "fmt", false},
	} {
		got := complaints(table, map[string][]string{tc.room: {tc.imported}})
		if (len(got) == 0) != tc.allowed {
			t.Errorf("%s: complaints %q, want allowed %v", name, got, tc.allowed)
		}
	}
}

// complaints holds imports, by room, against table. A room of ours is imported as
// "./" and its path.
func complaints(table []room, imports map[string][]string) []string {
	var out []string
	for importer, imported := range imports {
		i := slices.IndexFunc(table, func(r room) bool { return r.path == importer })
		if i < 0 {
			out = append(out, fmt.Sprintf("%s is not on the map of rooms", importer))
			continue
		}
		for _, path := range imported {
			if !table[i].allows(path) {
				out = append(out, fmt.Sprintf("%s may not import %s", importer, strings.TrimPrefix(path, "./")))
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (r room) allows(imported string) bool {
	if ours, ok := strings.CutPrefix(imported, "./"); ok {
		return slices.ContainsFunc(strings.Fields(r.rooms), func(allowed string) bool {
			below, many := strings.CutSuffix(allowed, "*")
			return ours == allowed || many && strings.HasPrefix(ours, below)
		})
	}
	first, _, _ := strings.Cut(imported, "/")
	if !strings.Contains(first, ".") {
		return true // the standard library has no domain
	}
	return slices.ContainsFunc(strings.Fields(r.foreign), func(allowed string) bool {
		return imported == allowed || strings.HasPrefix(imported, allowed+"/")
	})
}

// importsBelow parses every Go file that is no test, for whatever system it is,
// and returns what each package imports. Rooms of ours are "./" and their path.
func importsBelow(root fs.FS, module string) (map[string][]string, error) {
	imports := map[string][]string{}
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && name != "." && (d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".")):
			return fs.SkipDir
		case d.IsDir() && name != "." && isModule(root, name):
			return fs.SkipDir // not of this house
		case d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go"):
			return nil
		}
		text, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, text, parser.ImportsOnly)
		if err != nil {
			return err
		}
		dir := path.Dir(name)
		imports[dir] = slices.Grow(imports[dir], 1) // a room that imports nothing is one too
		for _, spec := range file.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			if ours, ok := strings.CutPrefix(imported, module+"/"); ok {
				imported = "./" + ours
			}
			imports[dir] = append(imports[dir], imported)
		}
		return nil
	})
	return imports, err
}

// isModule reports whether a directory is a module of its own.
func isModule(root fs.FS, dir string) bool {
	_, err := fs.Stat(root, path.Join(dir, "go.mod"))
	return err == nil
}

func moduleName(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(text), "\n")
	return strings.TrimPrefix(first, "module ")
}
