package replica

import "slices"

// set is a set of objects, in the order of their arrival. A few are compared one by
// one, which takes less than to hash them.
type set struct {
	list  []Object
	index map[Object]struct{} // of more than a few
}

const few = 16

func (s *set) has(object Object) bool {
	if s.index == nil {
		return slices.Contains(s.list, object)
	}
	_, has := s.index[object]
	return has
}

// add says whether the object is new.
func (s *set) add(object Object) bool {
	if s.has(object) {
		return false
	}
	s.list = append(s.list, object)
	if s.index == nil && len(s.list) > few {
		s.index = make(map[Object]struct{}, 2*len(s.list))
		for _, known := range s.list {
			s.index[known] = struct{}{}
		}
	} else if s.index != nil {
		s.index[object] = struct{}{}
	}
	return true
}
