// Package sensors has what real sensors measured, for tests that replay it.
package sensors

import (
	"encoding/csv"
	"os"
	"path/filepath"

	"github.com/headwater/headwater/appliance/process"
)

// Series are the recorded sensors, and the devices that replay them.
var Series = []struct{ File, Device, Metric, Unit string }{
	{"machine_temperature_system_failure.csv", "machine", "temperature", "F"},
	{"ambient_temperature_system_failure.csv", "office", "temperature", "F"},
	{"speed_6005.csv", "road6005", "speed", "mph"},
	{"occupancy_6005.csv", "lane6005", "occupancy", "%"},
	{"TravelTime_387.csv", "route387", "traveltime", "s"},
}

// Reading is one row of a series.
type Reading struct{ At, Value string }

// Read loads a series: all of it where the full data stand beside the checkout, else
// the excerpt in testdata of the end-to-end tests.
func Read(file string) ([]Reading, error) {
	root, err := process.ModuleRoot()
	if err != nil {
		return nil, err
	}
	path := filepath.Join(root, "..", "shared", "data", file)
	if _, err := os.Stat(path); err != nil {
		path = filepath.Join(root, "appliance", "e2e", "testdata", file)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		return nil, err
	}
	var all []Reading
	for _, row := range rows[1:] { // the first names the columns
		all = append(all, Reading{row[0], row[1]})
	}
	return all, nil
}
