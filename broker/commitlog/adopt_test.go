package commitlog

import "testing"

// A directory that was adopted is that broker's for every later start.
func TestAdopt(t *testing.T) {
	path := t.TempDir()
	open := func(brokerID int32) (*Dir, error) { return OpenDir(path, Options{BrokerID: brokerID}) }
	d, err := open(AnyBroker)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Adopt("abcdefghijklmnopqrstuv", 7); err != nil {
		t.Fatal(err)
	}
	if d.ClusterID() != "abcdefghijklmnopqrstuv" || d.BrokerID() != 7 {
		t.Errorf("adopted: cluster %s, broker %d", d.ClusterID(), d.BrokerID())
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if d, err = open(AnyBroker); err != nil || d.ClusterID() != "abcdefghijklmnopqrstuv" || d.BrokerID() != 7 {
		t.Fatalf("opened again: %v", err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := open(8); err == nil {
		t.Error("broker 8 opened broker 7's directory")
	}
}
