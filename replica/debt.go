package replica

import "sync"

// debt are the objects that a call to the store has failed for. The store may lack
// a position of theirs, or others may have written to them past it. Until their floors
// were raised to a position that was asked for afterwards, nothing that the store says of
// them is believed.
type debt struct {
	mu   sync.Mutex
	owed map[Object]uint64 // with the number of the failure
	last uint64
	// everything is the number of the failure since which all objects are owed for.
	everything uint64
}

// rememberedDebt bounds what is remembered one by one. Beyond it all objects are
// owed for, until all floors were raised.
const rememberedDebt = 10_000

func (d *debt) owe(objects []Object) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.last++
	if d.owed == nil {
		d.owed = make(map[Object]uint64)
	}
	for _, object := range objects {
		d.owed[object] = d.last
	}
	if len(d.owed) > rememberedDebt {
		d.owed, d.everything = nil, d.last
	}
}

// of returns those of objects that are owed for.
func (d *debt) of(objects []Object) []Object {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.everything > 0 {
		return objects
	}
	if len(d.owed) == 0 {
		return nil
	}
	var owed []Object
	for _, object := range objects {
		if _, owes := d.owed[object]; owes {
			owed = append(owed, object)
		}
	}
	return owed
}

// all returns what is owed for: no objects, and true, is all there are.
func (d *debt) all() (owed []Object, everything bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.everything > 0 {
		return nil, true
	}
	owed = make([]Object, 0, len(d.owed))
	for object := range d.owed {
		owed = append(owed, object)
	}
	return owed, false
}

// mark returns the number of the last failure: what is paid for from now on covers
// those up to it.
func (d *debt) mark() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.last
}

// pay takes objects out whose failures came before the payment began. No objects
// are all there are.
func (d *debt) pay(objects []Object, paid uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(objects) == 0 && d.everything <= paid {
		d.everything = 0
	}
	for _, object := range objects {
		if d.owed[object] <= paid {
			delete(d.owed, object)
		}
	}
}
