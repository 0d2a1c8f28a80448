import { useState } from "react";

interface CategoriesProps {
  categories: { name: string; count: number }[];
}

/** Which classes a study shows; those without pictures cannot be chosen. */
export function Categories({ categories }: CategoriesProps) {
  const usable = categories.filter(({ count }) => count > 0).map(({ name }) => name);
  const [chosen, setChosen] = useState<ReadonlySet<string>>(new Set(usable));
  const isAll = usable.every((name) => chosen.has(name));

  function toggle(name: string): void {
    const next = new Set(chosen);
    if (!next.delete(name)) next.add(name);
    setChosen(next);
  }

  return (
    <fieldset className="categories">
      <legend>Categories</legend>
      {categories.length === 0 && (
        <p className="quiet">
          Network and data set have no class in common: choose another of either.
        </p>
      )}
      {usable.length > 1 && (
        <button type="button" onClick={() => setChosen(new Set(isAll ? [] : usable))}>
          {isAll ? "None" : "All"}
        </button>
      )}
      <div className="category-choices">
        {categories.map(({ name, count }) => (
          <label key={name}>
            <input
              type="checkbox"
              name="category"
              value={name}
              disabled={count === 0}
              checked={chosen.has(name)}
              onChange={() => toggle(name)}
            />
            <bdi>{name}</bdi> <span className="quiet">{count}</span>
          </label>
        ))}
      </div>
    </fieldset>
  );
}
