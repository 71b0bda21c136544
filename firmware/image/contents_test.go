package image

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/headwater/headwater/appliance/config"
	"github.com/headwater/headwater/firmware/boot/site"
	"github.com/headwater/headwater/firmware/layout"
)

// A new box starts slot a, which is good; the loader waits for nobody, and lets nobody
// change the command line.
func TestBootEntries(t *testing.T) {
	files := Boot{Kernel: []byte("k"), Version: "1.2.3", More: "console=ttyS0"}.EFI([]byte("l"))
	at := func(path string) string {
		i := slices.IndexFunc(files, func(f File) bool { return f.Path == path })
		if i < 0 {
			t.Fatalf("no file %s", path)
		}
		return string(files[i].Data)
	}
	entry, ok := layout.ParseEntryFile(at("loader/entries/hw-a.conf"))
	want := layout.EntryFile{Slot: layout.A, Version: "1.2.3", Sequence: 1, Options: layout.CommandLine(layout.A, "console=ttyS0")}
	if !ok || entry != want {
		t.Errorf("the entry is %+v (%v), want %+v", entry, ok, want)
	}
	for _, line := range []string{"timeout 0", "editor no"} {
		if !strings.Contains(at(layout.LoaderConfPath), line+"\n") {
			t.Errorf("loader.conf does not say %q", line)
		}
	}
	if got := at(layout.CompatiblePath); got != CompatibleEFI+"\n" {
		t.Errorf("compatible is %q", got)
	}
	if got := at(layout.SitePath); got != string(SiteTemplate) {
		t.Error("without a site file the template is not there")
	}
	for _, f := range files {
		if f.Path == layout.KeysPath || strings.HasPrefix(f.Path, "loader/entries/hw-b") {
			t.Errorf("there is a file %s", f.Path)
		}
	}
}

// A Pi's firmware is told of the kernel where updates know it to be.
func TestRPiFiles(t *testing.T) {
	blobs, err := FilesMatching(fstest.MapFS{"start.elf": {Data: []byte("s")}, "overlays/x.dtbo": {}, "go.mod": {}}, "*.elf", "overlays/*")
	if err != nil {
		t.Fatal(err)
	}
	files := Boot{Kernel: []byte("k"), More: "console=serial0"}.RPi(blobs)
	got := map[string]string{}
	for _, f := range files {
		got[f.Path] = string(f.Data)
	}
	if !strings.Contains(got["config.txt"], "\nkernel=hw/a/vmlinuz\n") || got["hw/a/vmlinuz"] != "k" {
		t.Errorf("config.txt is %q", got["config.txt"])
	}
	if want := layout.CommandLine(layout.A, "console=serial0") + "\n"; got["cmdline.txt"] != want {
		t.Errorf("cmdline.txt is %q, want %q", got["cmdline.txt"], want)
	}
	if _, ok := got["overlays/x.dtbo"]; !ok || got["start.elf"] != "s" || got["go.mod"] != "" {
		t.Errorf("the firmware's files are not there: %v", got)
	}
	if _, err := FilesMatching(fstest.MapFS{}, "*.elf"); !errors.Is(err, ErrSpec) {
		t.Errorf("with no firmware: %v", err)
	}
}

// The template says nothing as it is. With each # taken away that stands before a key
// it is a site file, and says something of each of them.
func TestSiteTemplate(t *testing.T) {
	if got, err := site.Parse(SiteTemplate); err != nil || !reflect.DeepEqual(got, site.Default()) {
		t.Errorf("as it is: %+v (%v)", got, err)
	}
	bare := regexp.MustCompile(`(?m)^#([^ ]|  )`).ReplaceAll(SiteTemplate, []byte("$1"))
	got, err := site.Parse(bare)
	if err != nil {
		t.Fatalf("without its #: %v\n%s", err, bare)
	}
	if got.Hostname == site.Default().Hostname || !got.Network.Gateway.IsValid() || len(got.NTP) == 0 || len(got.Files) == 0 || !got.Sets("nats.tls.cert") {
		t.Errorf("without its # it says %+v", got)
	}
	file := filepath.Join(t.TempDir(), "headwater.yaml")
	if err := os.WriteFile(file, got.Settings, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := config.Load(file, nil, nil); err != nil {
		t.Errorf("its settings: %v", err)
	}
}
