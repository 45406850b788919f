// The chooser of downloads offers the formats that the chosen schema comes in.

export function bindExports(root) {
  const form = root.querySelector("[data-export-form]");
  if (!form) return;
  const { schema, format } = form.elements;
  const follow = () => {
    const formats = schema.selectedOptions[0].dataset.formats.split(" ");
    for (const option of format.options) option.disabled = !formats.includes(option.value);
    if (format.selectedOptions[0]?.disabled) format.value = formats[0];
  };
  schema.addEventListener("change", follow);
  follow();
}
