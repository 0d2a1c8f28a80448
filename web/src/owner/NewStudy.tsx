import { type FormEvent, useState } from "react";
import { studyPath } from "../address";
import type { DatasetPart, PoolOrder, StudySettings } from "../api/openapi";
import { Failure } from "../Failure";
import { Categories } from "./Categories";
import { type Choices, createStudy, loadChoices } from "./studies";
import { useLoaded } from "./useLoaded";

/** The form that makes a study of what this server has. */
export function NewStudy() {
  const { data: choices, failure, reload } = useLoaded(loadChoices);
  if (failure !== null) return <Failure error={failure} onAgain={reload} />;
  if (!choices) return <p className="empty">Looking at what this server has.</p>;
  if (choices.models.length === 0 || choices.datasets.length === 0) {
    return (
      <p className="empty">
        A study needs a network and pictures first: <code>onoma model add</code> and{" "}
        <code>onoma dataset add</code> bring them here.
      </p>
    );
  }
  return <Form choices={choices} />;
}

function Form({ choices: { models, datasets, xnnSets } }: { choices: Choices }) {
  const [refusal, setRefusal] = useState<unknown>(null);
  const [isSent, setSent] = useState(false);
  const [modelName, setModel] = useState(xnnSets[0]?.model ?? models[0]?.name ?? "");
  const [datasetName, setDataset] = useState(xnnSets[0]?.dataset ?? datasets[0]?.name ?? "");
  const [part, setPart] = useState<DatasetPart>("DATASET_PART_TEST");
  const model = models.find(({ name }) => name === modelName);
  const dataset = datasets.find(({ name }) => name === datasetName);
  const fitting = xnnSets.filter((one) => one.model === modelName && one.dataset === datasetName);
  const counts = part === "DATASET_PART_TEST" ? dataset?.test_counts : dataset?.train_counts;
  const categories = (dataset?.classes ?? [])
    .map((name, at) => ({ name, count: counts?.[at] ?? 0 }))
    .filter(({ name }) => model?.classes.includes(name));

  async function submit(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const text = (name: string) => String(form.get(name) ?? "").trim();
    const wanted = form.getAll("category").map(String);
    if (wanted.length === 0) {
      setRefusal("Choose at least one category.");
      return;
    }
    setSent(true);
    try {
      const study = await createStudy({
        name: text("name"),
        model: modelName,
        dataset: datasetName,
        part,
        xnn_set: text("xnn_set"),
        categories: wanted,
        settings: settingsOf(form),
      });
      location.assign(studyPath(study.study_id));
    } catch (error) {
      setRefusal(error);
      setSent(false);
    }
  }

  return (
    <form className="new-study" onSubmit={submit}>
      <label>
        <span>Name</span>
        <input
          name="name"
          required
          maxLength={200}
          dir="auto"
          placeholder="what people will read"
        />
      </label>
      <label>
        <span>Network</span>
        <select value={modelName} onChange={(event) => setModel(event.target.value)}>
          {models.map(({ name }) => (
            <option key={name}>{name}</option>
          ))}
        </select>
      </label>
      <label>
        <span>Data set</span>
        <select value={datasetName} onChange={(event) => setDataset(event.target.value)}>
          {datasets.map(({ name }) => (
            <option key={name}>{name}</option>
          ))}
        </select>
      </label>
      <label>
        <span>Pictures</span>
        <select value={part} onChange={(event) => setPart(event.target.value as DatasetPart)}>
          <option value="DATASET_PART_TEST">those for testing</option>
          <option value="DATASET_PART_TRAIN">those for training</option>
        </select>
      </label>
      <label>
        <span>Explanation networks</span>
        <select name="xnn_set">
          {fitting.map(({ name }) => (
            <option key={name}>{name}</option>
          ))}
          <option value="">none: maps made elsewhere are imported</option>
        </select>
      </label>
      <Categories key={`${modelName}/${datasetName}`} categories={categories} />
      <details>
        <summary>Settings</summary>
        <Settings />
      </details>
      {refusal !== null && <Failure error={refusal} />}
      <button type="submit" className="main-act" disabled={isSent}>
        Make the study
      </button>
    </form>
  );
}

function Settings() {
  return (
    <div className="settings">
      <label>
        <span>Pictures a category, at most</span>
        <input name="max_images_per_category" type="number" min={1} placeholder="all" />
      </label>
      <label>
        <span>Seed of random orders</span>
        <input name="seed" type="number" min={0} step={1} defaultValue={0} required />
      </label>
      <label>
        <span>Share of the evidence that counts as significant</span>
        <input
          name="significant_share"
          type="number"
          min={0.01}
          max={1}
          step={0.01}
          defaultValue={0.9}
        />
      </label>
      <label>
        <span>Pictures that a concept needs for the statistics</span>
        <input name="min_concept_images" type="number" min={1} defaultValue={3} />
      </label>
      <label>
        <span>Order of the examples</span>
        <select name="pool_order">
          <option value="POOL_ORDER_RANDOM">random, another for each annotator</option>
          <option value="POOL_ORDER_IMAGE">image by image</option>
        </select>
      </label>
      <label>
        <input name="contrastive" type="checkbox" defaultChecked />
        Maps show what speaks for the category and not what speaks as much against it (contrastive)
      </label>
      <label>
        <input name="blind" type="checkbox" defaultChecked />
        Annotators see nothing of each other until the study is closed
      </label>
      <label>
        <input name="suggestions" type="checkbox" />
        Annotators may sort by similarity
      </label>
    </div>
  );
}

/** All of the form is sent: some of the server's defaults depend on other fields. */
function settingsOf(form: FormData): StudySettings {
  return {
    max_images_per_category: Number(form.get("max_images_per_category")),
    // A 64-bit number, which JSON carries as a string.
    seed: String(form.get("seed")),
    significant_share: Number(form.get("significant_share")),
    min_concept_images: Number(form.get("min_concept_images")),
    pool_order: form.get("pool_order") as PoolOrder,
    contrastive: form.has("contrastive"),
    blind: form.has("blind"),
    suggestions: form.has("suggestions"),
  };
}
