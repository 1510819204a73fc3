package migrations

// LostNames are the tables that the ways down of all migrations above a version drop.
func LostNames(version int32) (names []string, err error) {
	tables, err := droppedAbove(version)
	for _, t := range tables {
		if t.Columns == nil {
			names = append(names, t.Name)
		}
	}
	return names, err
}
