package e2e

import (
	"encoding/csv"
	"os"
	"path/filepath"
	"testing"

	"github.com/headwater/headwater/appliance/process"
)

// series are the recorded sensors, and the devices that replay them.
var series = []struct{ file, device, metric, unit string }{
	{"machine_temperature_system_failure.csv", "machine", "temperature", "F"},
	{"ambient_temperature_system_failure.csv", "office", "temperature", "F"},
	{"speed_6005.csv", "road6005", "speed", "mph"},
	{"occupancy_6005.csv", "lane6005", "occupancy", "%"},
	{"TravelTime_387.csv", "route387", "traveltime", "s"},
}

// reading is one row of a series.
type reading struct{ at, value string }

// readings loads a series: all of it where the full data stand beside the
// checkout, else the excerpt in testdata.
func readings(t *testing.T, file string) []reading {
	t.Helper()
	root, err := process.ModuleRoot()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(root, "..", "shared", "data", file)
	if _, err := os.Stat(path); err != nil {
		path = filepath.Join("testdata", file)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var all []reading
	for _, row := range rows[1:] { // the first names the columns
		all = append(all, reading{row[0], row[1]})
	}
	return all
}
