INSERT INTO published_statistics AS s (project, size) VALUES ($1, $2)
ON CONFLICT (project) DO UPDATE SET size = s.size + excluded.size
