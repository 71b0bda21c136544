package process

import "testing"

// TestFreeAddressOnce asks for so many addresses that two equal ones would be all but
// certain if each were drawn at random.
func TestFreeAddressOnce(t *testing.T) {
	seen := make(map[string]bool)
	for range 1000 {
		address, err := FreeAddress()
		if err != nil {
			t.Fatal(err)
		}
		if seen[address] {
			t.Fatalf("%s was given twice", address)
		}
		seen[address] = true
	}
}
